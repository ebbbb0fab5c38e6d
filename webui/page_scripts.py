"""The page's own scripts: plain JavaScript, a file for each idea in browser/, without a build."""

from __future__ import annotations

from pathlib import Path

FOLDER = Path(__file__).with_name("browser")
EVERYWHERE = (
    "tabs",
    "appearance",
    "names",
    "memory",
    "messages",
    "pasting",
    "camera",
    "copying",
    "jumps",
)


def script(name: str) -> str:
    """A script's text, for the `js_on_load` of the component that it belongs to."""
    return (FOLDER / f"{name}.js").read_text(encoding="utf-8")


def head() -> str:
    """The scripts that are for the whole page, as its head loads them."""
    return "\n".join(f"<script>{{\n{script(name)}}}</script>" for name in EVERYWHERE)
