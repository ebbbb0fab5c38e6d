"""Judging captions of a data set: predictions from a file or made here, matched to references, scored and shown."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from captioner.datasets import Dataset, Example
from captioner.java_metrics import java_scores
from captioner.metrics import Scores, score_captions, tokenize
from rnnkit.errors import UserError

NAMES = {
    "bleu_1": "BLEU-1", "bleu_2": "BLEU-2", "bleu_3": "BLEU-3", "bleu_4": "BLEU-4",
    "rouge_l": "ROUGE-L", "cider_d": "CIDEr-D", "meteor": "METEOR", "spice": "SPICE",
}  # fmt: skip
TOKENISER = "PTB-like, lower case, coco-caption's 17 punctuation tokens dropped"


@dataclass(frozen=True)
class Report:
    """Scores with what a reader must know to compare them."""

    data: str
    split: str
    decoding: str
    scores: Scores
    left_out: dict[str, str]  # metric -> why it could not be computed
    distinct: int  # different captions

    def as_json(self) -> dict[str, Any]:
        """The report as JSON; scores are fractions, CIDEr-D 0 to 10."""
        scores = asdict(self.scores)
        del scores["per_image"]
        header = {"data": self.data, "split": self.split, "decoding": self.decoding, "tokeniser": TOKENISER}
        return {**header, **scores, "distinct_captions": self.distinct, "left_out": self.left_out}

    def __str__(self) -> str:
        s = self.scores
        lines = [f"{self.data}, split {self.split}: {s.images} images; {self.decoding}", f"tokens: {TOKENISER}", ""]
        for name, value in s.values.items():
            low, high = s.intervals.get(name, (None, None))
            interval = f"   95 % interval {100 * low:6.2f} to {100 * high:6.2f}" if low is not None and high is not None else ""
            lines.append(f"{NAMES[name]:8} {100 * value:6.2f}{interval}")
        lines += [f"{NAMES[name]:8} left out: {reason}" for name, reason in self.left_out.items()]
        ratio = s.prediction_length / max(s.reference_length, 1)
        lines += [
            "",
            f"n-grams matched {s.matches} of {s.totals}; {s.prediction_length} words against {s.reference_length} (ratio {ratio:.3f})",
            f"{self.distinct} distinct captions",
        ]
        return "\n".join(lines)


def choose_split(dataset: Dataset, split: str | None) -> tuple[list[Example], str]:
    """The examples to judge on.

    Args:
        split: train, val, test or all; None takes test where the file names splits, else everything.

    Raises: UserError if the split has no examples.
    """
    chosen = split or ("test" if dataset.has_splits else "all")
    examples = dataset.examples if chosen == "all" else dataset.split(chosen) if dataset.has_splits else []
    if not examples:
        counts = ", ".join(f"{name} {len(dataset.split(name))}" for name in ("train", "val", "test") if dataset.split(name))
        known = f"it has {counts}" if dataset.has_splits else "its format names no splits: use --split all"
        raise UserError(f"'{dataset.name}' has no split '{chosen}' ({known})")
    return examples, chosen


def read_predictions(path: Path, examples: Sequence[Example]) -> dict[str, str]:
    """Captions from a COCO results file, by image id, for exactly the examples.

    Raises: UserError for a file that is no results file, an id given twice, or examples without a caption.
    """
    try:
        results = json.loads(path.read_text(encoding="utf-8-sig"))
        pairs = [(str(result["image_id"]), _text(result["caption"])) for result in results]
    except FileNotFoundError:
        raise UserError(f"no predictions at '{path}'") from None
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(f'\'{path}\' is no COCO results file, [{{"image_id", "caption"}}, ...] ({type(error).__name__}: {error})') from None
    captions = dict(pairs)
    if len(captions) < len(pairs):
        seen: set[str] = set()
        twice = next(key for key, _ in pairs if key in seen or seen.add(key))  # type: ignore[func-returns-value]
        raise UserError(f"'{path}' has two captions for image {twice}")
    missing = [str(example.image_id) for example in examples if str(example.image_id) not in captions]
    if missing:
        raise UserError(
            f"'{path}' lacks {len(missing)} of {len(examples)} images, for example {', '.join(missing[:3])}; is it of another split?"
        )
    return {str(example.image_id): captions[str(example.image_id)] for example in examples}


def _text(caption: object) -> str:
    if not isinstance(caption, str):
        raise TypeError(f"a caption must be text, not {caption!r}")
    return caption


def judge(
    captions: dict[str, str], examples: Sequence[Example], *, data: str, split: str, decoding: str, bootstrap: int = 1000, java: bool = True
) -> Report:
    """Score captions, by image id, against the examples' references; java adds METEOR and SPICE where they can run.

    Raises: UserError for fewer than two images, or two of one id.
    """
    ids = Counter(str(example.image_id) for example in examples)
    if len(ids) < len(examples):
        raise UserError(f"two photos in '{data}' have the id {ids.most_common(1)[0][0]}: captions are matched by id")
    predictions = [tokenize(captions[str(example.image_id)]) for example in examples]
    references = [[tokenize(caption) for caption in example.captions] for example in examples]
    if len(examples) < 2:
        raise UserError("one image cannot be judged: CIDEr weighs words by how few images have them, so it needs at least two")
    scores = score_captions(predictions, references, bootstrap=bootstrap)
    more, left_out = java_scores(predictions, references) if java else ({}, {})
    scores.values.update(more)
    return Report(data, split, decoding, scores, left_out, len({tuple(tokens) for tokens in predictions}))
