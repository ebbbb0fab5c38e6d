"""A long list of paths in little memory."""

from __future__ import annotations

import tracemalloc
from pathlib import Path

from captioner.data.path_list import PathList


def test_a_list_of_photos_is_a_sequence_of_paths_that_takes_little_memory() -> None:
    photos = PathList(f"folder/{number}.jpg" for number in range(5))
    assert photos[1] == Path("folder/1.jpg") and list(photos[3:]) == [
        Path("folder/3.jpg"),
        Path("folder/4.jpg"),
    ]
    tracemalloc.start()
    many = PathList(f"/some/where/photos/{number:08}.jpg" for number in range(20_000))
    assert tracemalloc.get_traced_memory()[0] < 3e6
    tracemalloc.stop()
    assert len(many) == 20_000
