"""A folder with as many photos as a benchmark needs, whatever number there are."""

from __future__ import annotations

import itertools
from pathlib import Path

from captioner.jobs.find_photos import find_photos


def link_photos(photos: Path, directory: Path, count: int) -> None:
    """Make a folder of `count` links to the photos of another one, repeated under new names."""
    directory.mkdir(exist_ok=True)
    repeated = itertools.cycle(find_photos([str(photos)]))
    for index, photo in enumerate(itertools.islice(repeated, count)):
        (directory / f"{index:06d}{photo.suffix}").symlink_to(photo.resolve())
