"""Speed of BLEU, ROUGE-L and CIDEr-D beside pycocoevalcap's Python scorers (metrics extra), in turn
on the same tokens.

    python scripts/benchmarks/metrics.py [REFERENCES]

Scores made-up captions, or the first images of a file of references. A prediction is one of the
references with some words left out.
"""

from __future__ import annotations

import random
import statistics
import time
from pathlib import Path
from typing import Annotated

import typer

from captioner.evaluation.references import read_references
from captioner.metrics.scores import score_captions
from rnnkit.command_line import run_app
from rnnkit.errors import UserError
from rnnkit.metrics.tokenizer import tokenize

Captions = list[list[str]]


def benchmark(
    references: Annotated[
        Path | None, typer.Argument(help="File of references; made-up ones if not given.")
    ] = None,
    images: Annotated[int, typer.Option(min=2)] = 5000,
    each: Annotated[int, typer.Option(min=1, help="References for each image.")] = 5,
    turns: Annotated[
        int, typer.Option(min=1, help="How often each is timed; the median counts.")
    ] = 5,
) -> None:
    """Time both in turn and print the ratio of their speeds."""
    source = random.Random(0)
    groups = _made(source, images, each) if references is None else _read(references, images, each)
    predictions = [
        [word for word in source.choice(group) if source.random() > 0.15] or group[0][:1]
        for group in groups
    ]
    times = []
    for _ in range(turns):
        started = time.perf_counter()
        theirs = _oracle(predictions, groups)
        between = time.perf_counter()
        ours = score_captions(predictions, groups).values
        times.append((between - started, time.perf_counter() - between))
        print(f"pycocoevalcap {times[-1][0]:.2f} s, captioner {times[-1][1]:.2f} s", flush=True)
    worst = max(abs(ours[name] - value) for name, value in theirs.items())
    medians = [statistics.median(column) for column in zip(*times, strict=True)]
    ratio = statistics.median(slow / fast for slow, fast in times)
    print(
        f"{len(groups)} images with {each} references: medians of {turns}: pycocoevalcap"
        f" {medians[0]:.2f} s, captioner {medians[1]:.2f} s"
    )
    print(f"ratio {ratio:.1f}; scores differ by at most {worst:.1e}")


def _oracle(predictions: Captions, groups: list[Captions]) -> dict[str, float]:
    try:
        from pycocoevalcap.bleu.bleu import Bleu
        from pycocoevalcap.cider.cider import Cider
        from pycocoevalcap.rouge.rouge import Rouge
    except ImportError:
        raise UserError(
            "pycocoevalcap is not installed: pip install 'show-and-spell[metrics]'"
        ) from None
    references = {
        index: [" ".join(tokens) for tokens in group] for index, group in enumerate(groups)
    }
    results = {index: [" ".join(tokens)] for index, tokens in enumerate(predictions)}
    corpus, _ = Bleu(4).compute_score(references, results, verbose=0)
    named = {f"bleu_{order}": float(value) for order, value in enumerate(corpus, start=1)}
    return named | {
        "rouge_l": float(Rouge().compute_score(references, results)[0]),
        "cider_d": float(Cider().compute_score(references, results)[0]),
    }


def _made(source: random.Random, images: int, each: int) -> list[Captions]:
    """Captions of about eleven words, those of one image similar. Word frequencies follow Zipf."""
    words = [f"w{rank}" for rank in range(1, 5001)]
    weights = [1 / rank for rank in range(1, 5001)]

    def group() -> Captions:
        scene = source.choices(words, weights, k=14)
        others = source.choices(words, weights, k=14 * each)
        other = iter(others)
        return [
            [
                word if source.random() < 0.6 else next(other)
                for word in scene[: source.randint(8, 14)]
            ]
            for _ in range(each)
        ]

    return [group() for _ in range(images)]


def _read(path: Path, images: int, each: int) -> list[Captions]:
    whole = [
        example.captions
        for example in read_references(path).examples
        if len(example.captions) >= each
    ]
    if len(whole) < 2:
        raise UserError(f"fewer than two images in '{path}' have {each} references")
    return [[tokenize(caption) for caption in captions[:each]] for captions in whole[:images]]


if __name__ == "__main__":
    run_app("benchmark_metrics", benchmark)
