"""The user's cache folder: what can be computed again and is kept to save time."""

from __future__ import annotations

import os
from pathlib import Path

from platformdirs import user_cache_path


def cache_folder() -> Path:
    """Where things are kept by default: SHOW_AND_SPELL_CACHE, or the platform's cache folder for
    this program.
    """
    return Path(os.environ.get("SHOW_AND_SPELL_CACHE") or user_cache_path("show-and-spell"))


def make_private_folder(folder: Path) -> None:
    """Make a folder, and those above it that are missing, for this user alone.

    Raises: OSError.
    """
    if not folder.parent.exists():
        make_private_folder(folder.parent)
    folder.mkdir(mode=0o700, exist_ok=True)
