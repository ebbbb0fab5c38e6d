"""The photos of a split: found in their folder, and not outside of it."""

from __future__ import annotations

from pathlib import Path

import pytest

from captioner.data.annotations import Example
from captioner.evaluation.caption_split import locate_photos
from rnnkit.errors import UserError


def test_photos_outside_of_the_folder_are_refused_unless_absolute_names_are_allowed(
    tmp_path: Path,
) -> None:
    outside = tmp_path / "c.jpg"
    outside.touch()
    (tmp_path / "photos").mkdir()
    for name in ("../c.jpg", str(outside)):
        with pytest.raises(UserError, match=r"c\.jpg': .* outside of --images"):
            locate_photos(
                [Example(Path(name), ("a dog",), "val", 1)],
                tmp_path / "photos",
                allow_missing=True,
            )
    (located,) = locate_photos(
        [Example(outside, ("a dog",), "val", 1)],
        tmp_path / "photos",
        allow_missing=False,
        absolute_names=True,
    )
    assert located.path == outside
