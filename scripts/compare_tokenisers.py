"""Counts the captions that this package's tokeniser and coco-caption's Java one split differently.

    python scripts/compare_tokenisers.py CAPTIONS

CAPTIONS is any file of references that `captioner evaluate` reads. The first captions that differ
are printed. Needs Java and the metrics extra.
"""

from __future__ import annotations

import shutil
import time
from pathlib import Path
from typing import Annotated

import typer

from captioner.evaluation.references import read_references
from rnnkit.command_line import run_app
from rnnkit.errors import UserError
from rnnkit.metrics.tokenizer import tokenize


def compare(
    captions: Annotated[
        Path,
        typer.Argument(
            help="References: COCO's or Karpathy's JSON, Flickr8k's token file, CSV, plain text."
        ),
    ],
    shown: Annotated[int, typer.Option(help="How many of the captions that differ to print.")] = 20,
) -> None:
    """Tokenise captions with both and count the differences."""
    try:
        from pycocoevalcap.tokenizer.ptbtokenizer import PTBTokenizer
    except ImportError:
        raise UserError(
            "pycocoevalcap is not installed: pip install 'show-and-spell[metrics]'"
        ) from None
    if shutil.which("java") is None:
        raise UserError("coco-caption's tokeniser needs Java, which is not installed")
    texts = [
        caption for example in read_references(captions).examples for caption in example.captions
    ]
    started = time.perf_counter()
    ours = [tokenize(text) for text in texts]
    ended = time.perf_counter()
    java = PTBTokenizer().tokenize(
        {number: [{"caption": text}] for number, text in enumerate(texts)}
    )
    seconds = time.perf_counter() - ended
    different = [number for number, tokens in enumerate(ours) if java[number][0].split() != tokens]
    for number in different[:shown]:
        print(f"{texts[number]}\n  Java: {java[number][0]}\n  here: {' '.join(ours[number])}")
    print(
        f"{len(different)} of {len(texts)} captions differ; {ended - started:.1f} s here,"
        f" {seconds:.1f} s in Java"
    )


if __name__ == "__main__":
    run_app("compare_tokenisers", compare)
