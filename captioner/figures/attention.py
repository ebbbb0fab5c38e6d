"""Where the network looked while it wrote each word, drawn over the photo."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path

from matplotlib.backend_bases import FigureCanvasBase
from matplotlib.figure import Figure
from PIL import Image

from captioner.figures.overlay import overlay
from captioner.types import Caption
from rnnkit.files import write_file

# The endings of the files that matplotlib can write.
FIGURE_FORMATS = frozenset(f".{ending}" for ending in FigureCanvasBase.get_supported_filetypes())


def draw_attention(photo: Image.Image, caption: Caption, path: Path, *, columns: int = 5) -> None:
    """Save a figure with the photo and, for each word, where the network looked.

    Args:
        caption: made with attention=True.
        path: its ending decides the format.
    """
    assert caption.attention is not None
    photo = photo.copy()
    photo.thumbnail((480, 480))
    panels = [
        ("", photo),
        *(
            (word, overlay(photo, weights))
            for word, weights in zip(caption.words, caption.attention, strict=True)
        ),
    ]
    rows = -(-len(panels) // columns)
    height = 2.6 * photo.height / photo.width + 0.35
    figure = Figure(figsize=(2.6 * columns, height * rows + 0.5), layout="constrained")
    figure.suptitle(caption.text, parse_math=False)  # dollar signs do not enclose formulas
    for axes in figure.subplots(rows, columns, squeeze=False).flat:
        axes.set_axis_off()
        if panels:
            word, picture = panels.pop(0)
            axes.imshow(picture)
            axes.set_title(word, fontsize=10, parse_math=False)
    drawn = BytesIO()
    figure.savefig(drawn, dpi=100, format=path.suffix[1:].lower())
    write_file(path, drawn.getvalue())
