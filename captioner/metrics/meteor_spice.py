"""METEOR and SPICE, which exist only as Java programs: run by pycocoevalcap, never approximated."""

from __future__ import annotations

import importlib
import importlib.util
import os
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

# With another locale the Java side writes decimal commas, which its Python side cannot read.
_LOCALE = "-Duser.language=en -Duser.country=US"


Captions = dict[int, list[str]]  # by image, tokens joined by spaces
# Indices of images, possibly with repeats -> their score as a corpus.
Corpus = Callable[[np.ndarray], float]


def java_scores(
    predictions: Sequence[Sequence[str]], references: Sequence[Sequence[Sequence[str]]]
) -> tuple[dict[str, Corpus], dict[str, str]]:
    """METEOR and SPICE of tokenised captions, as fractions.

    Returns: for each metric a function that scores any choice of the images; and the reason for
        each metric that could not run.
    """
    missing = _missing()
    scores: dict[str, Corpus] = {}
    for name, run in (("meteor", _meteor), ("spice", _spice)):
        if name in missing:
            continue
        groups = {
            index: [" ".join(tokens) for tokens in group] for index, group in enumerate(references)
        }
        results = {index: [" ".join(tokens)] for index, tokens in enumerate(predictions)}
        try:
            scores[name] = run(groups, results)
        except Exception as error:  # a Java program can die in many ways
            missing[name] = (
                "its Java program failed"
                f" ({' '.join(str(error).split())[:100] or type(error).__name__})"
            )
    return scores, missing


def _meteor(references: Captions, predictions: Captions) -> Corpus:
    """METEOR of a corpus, from the sums of what Java counted in each image.

    Denkowski & Lavie 2014, section 3.
    """
    kind: Any = importlib.import_module("pycocoevalcap.meteor.meteor").Meteor
    rows: list[list[float]] = []

    class Counting(kind):  # type: ignore[misc]
        def _stat(self, hypothesis: str, group: list[str]) -> str:
            line: str = super()._stat(hypothesis, group)
            rows.append([float(number) for number in line.split()])
            return line

    whole, _ = Counting().compute_score(references, predictions)
    counts = np.array(rows)  # (images, 23)
    identical = (counts[:, CHUNKS] == 1) & (counts[:, :2] == counts[:, COVERED]).all(axis=1)
    counts[identical, CHUNKS] = 0  # a caption that is its reference is not fragmented
    if abs(meteor(counts.sum(axis=0)) - whole) > 1e-6:
        raise ValueError("its counts do not give its score")
    return lambda images: meteor(counts[images].sum(axis=0))


CHUNKS, COVERED = 20, slice(21, 23)


def meteor(counts: np.ndarray) -> float:
    """METEOR 1.5 for English from the counts of its Java program (23,).

    They are: words and function words of the prediction and of the reference; matched content words
    in either, then function words in either, for each of the exact, stem, synonym and paraphrase
    matchers; chunks, 0 where the prediction is the reference; words covered in either.
    """
    alpha, beta, gamma, delta = 0.85, 0.2, 0.6, 0.75
    words, function_words = counts[0:2], counts[2:4]
    # (4, 2, 2): matcher, content or function words, prediction or reference
    matchers = counts[4:20].reshape(4, 2, 2)
    matched = np.einsum("m,mkp->kp", (1, 0.6, 0.8, 0.6), matchers)
    # (2,): prediction, reference
    weighed = delta * (words - function_words) + (1 - delta) * function_words
    precision, recall = (delta * matched[0] + (1 - delta) * matched[1]) / np.maximum(weighed, 1e-9)
    if not precision or not recall:
        return 0.0
    fragmentation = counts[CHUNKS] / counts[COVERED].mean()
    return float((1 - gamma * fragmentation**beta) / ((1 - alpha) / precision + alpha / recall))


def _spice(references: Captions, predictions: Captions) -> Corpus:
    """SPICE of a corpus is the mean over its images."""
    kind: Any = importlib.import_module("pycocoevalcap.spice.spice").Spice
    _, each = kind().compute_score(references, predictions)
    scores = np.array([image["All"]["f"] for image in each])
    return lambda images: float(scores[images].mean())


def _missing() -> dict[str, str]:
    found = importlib.util.find_spec("pycocoevalcap")
    if found is None or not found.submodule_search_locations:
        return dict.fromkeys(
            ("meteor", "spice"), 'needs the extra: pip install "show-and-spell[metrics]"'
        )
    if shutil.which("java") is None:
        return dict.fromkeys(("meteor", "spice"), "needs Java, which is not installed")
    options = os.environ.get("JAVA_TOOL_OPTIONS", "")
    if _LOCALE not in options:
        os.environ["JAVA_TOOL_OPTIONS"] = f"{options} {_LOCALE}".strip()
    package = Path(next(iter(found.submodule_search_locations)))
    if not list((package / "spice" / "lib").glob("stanford-corenlp-*.jar")):
        # pycocoevalcap would fetch 385 MB now; nothing is downloaded unless the user asks for it.
        return {
            "spice": (
                "needs Stanford CoreNLP in pycocoevalcap/spice/lib (python -m"
                " pycocoevalcap.spice.get_stanford_models fetches it)"
            )
        }
    return {}
