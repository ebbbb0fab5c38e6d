"""The example photos: what the Caption tab offers, and what the Score tab's sample is made of."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

import gradio as gr

from webui.uploads import new_folder


@dataclass(frozen=True)
class ExamplePhoto:
    """A photo that comes with the page.

    Attributes:
        name: what it shows, in a few words.
        credit: who took it and under which terms, as the page says it.
        references: what people would say of it.
        fails: whether it is here because the captioner gets it wrong.
    """

    path: Path
    name: str
    credit: str
    references: tuple[str, ...]
    fails: bool = False

    def lend(self) -> Path:
        """A copy among the visitors' files, which the page may read and send."""
        return Path(shutil.copy(self.path, new_folder()))


GRADIO = "comes with Gradio"
EXAMPLES = (
    ExamplePhoto(
        Path(gr.get_image("tower.jpg")),
        "a tower",
        GRADIO,
        (
            "the eiffel tower lit up at night",
            "a tall iron tower under a blue sky",
            "looking up at a tower with lights on it",
        ),
    ),
    ExamplePhoto(
        Path(gr.get_image("lion.jpg")),
        "a lion",
        GRADIO,
        (
            "a lion lies on a rock",
            "a male lion with a dark mane rests on a stone",
            "a large lion laying on top of a rock",
        ),
    ),
    ExamplePhoto(
        Path(gr.get_image("cheetah1.jpg")),
        "a cheetah",
        GRADIO,
        (
            "a close up of a cheetah's face",
            "a cheetah looks straight into the camera",
            "the head of a cheetah with a dark background",
        ),
        fails=True,
    ),
)
