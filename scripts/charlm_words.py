"""How many of the words that a model writes occur in a text."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path
from typing import Annotated

import typer

from charlm import CharLM, SamplingParams
from charlm.data import read_text
from rnnkit.command_line import run_app

WORD = re.compile(r"[^\W\d_]+(?:'[^\W\d_]+)*")


def words(text: str) -> list[str]:
    """The words in lower case; an apostrophe inside belongs to its word."""
    return [word.lower() for word in WORD.findall(text)]


def check(
    corpus: Annotated[Path, typer.Argument(help="UTF-8 text whose words count as known.")],
    model: Annotated[
        Path | None,
        typer.Option("--model", help="Checkpoint; the bundled model if not given."),
    ] = None,
    temperature: Annotated[float, typer.Option("--temperature")] = 0.8,
    count: Annotated[int, typer.Option("--count", help="Texts to sample.")] = 160,
    length: Annotated[int, typer.Option("--length", help="Characters in each.")] = 2000,
    seed: Annotated[int, typer.Option("--seed")] = 1,
) -> None:
    """Print the share of words that are not in the corpus, and the most frequent of them."""
    known = set(words(read_text(corpus)))
    texts = [""] * count
    for pieces in CharLM.load(model).sample_many(
        ["\n"] * count, length=length, params=SamplingParams(temperature), seed=seed
    ):
        texts = [text + piece for text, piece in zip(texts, pieces, strict=True)]
    # The first and the last word of a text may be cut.
    written = [word for text in texts for word in words(text)[1:-1]]
    unknown = Counter(word for word in written if word not in known)
    total = sum(unknown.values())
    print(
        f"{len(written):,} words at temperature {temperature}, {total:,} not in the corpus: 1 in"
        f" {len(written) / max(1, total):.0f}"
    )
    print(", ".join(f"{word} ({n})" if n > 1 else word for word, n in unknown.most_common(60)))


if __name__ == "__main__":
    run_app("charlm_words", check)
