"""Options that several of the captioner's commands have."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

Model = Annotated[
    Path | None, typer.Option(help="Checkpoint or run folder; the bundled model if not given.")
]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N.")]
Backend = Annotated[str, typer.Option(help="What runs the networks: auto, torch or openvino.")]
BatchSize = Annotated[int, typer.Option(min=1, help="Photos computed at once.")]
Workers = Annotated[int, typer.Option(min=1, help="Threads that decode photos.")]
Recursive = Annotated[
    bool, typer.Option("--recursive", help="Look into folders inside folders too.")
]
FromFile = Annotated[
    str | None,
    typer.Option(help="Take the photos from a list, one path per line; - is standard input."),
]

Prepend = Annotated[
    str,
    typer.Option(
        metavar="TEXT",
        help="Put TEXT, such as a trigger word, before every new caption. (--existing prepend is"
        " something else: it keeps the captions that a photo has already.)",
    ),
]
Append = Annotated[str, typer.Option(metavar="TEXT", help="Put TEXT after every new caption.")]
Extension = Annotated[
    str | None,
    typer.Option(
        help="What sidecars' names end with, such as .caption; else .txt. Implies sidecars."
    ),
]
SidecarFolder = Annotated[
    Path | None,
    typer.Option(
        help="Folder for sidecars, with the photos' tree; else they go beside the photos. Implies"
        " sidecars."
    ),
]
