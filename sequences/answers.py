"""What the models say as JSON values: fields of `--format jsonl` and of the page's endpoints."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sequences.classifier import Classification
from sequences.evaluation.entities import entities
from sequences.tagger import TaggedWord
from sequences.translator import Translation

DIGITS = 6


def label_fields(found: Classification) -> dict[str, Any]:
    """The label of a text, its probability, and those of all labels."""
    return {
        "label": found.label,
        "probability": round(found.probability, DIGITS),
        "probabilities": _rounded(found.probabilities),
    }


def reading_fields(read: Sequence[tuple[str, dict[str, float]]]) -> dict[str, Any]:
    """Each word and the probabilities of the labels after it, from `Classifier.as_read`."""
    return {"reading": [{"word": word, "probabilities": _rounded(after)} for word, after in read]}


def tag_fields(words: Sequence[TaggedWord], *, whole_entities: bool) -> dict[str, Any]:
    """Words, tags and their probabilities, in the same order.

    Args:
        whole_entities: whether the tags mark entities, which are then listed too, with the indices
            of their first and last words.
    """
    fields: dict[str, Any] = {
        "words": [word.word for word in words],
        "tags": [word.tag for word in words],
        "probabilities": [round(word.probability, DIGITS) for word in words],
    }
    if whole_entities:
        fields["entities"] = [
            {
                "type": entity.kind,
                "text": " ".join(fields["words"][entity.first : entity.last + 1]),
                "first": entity.first,
                "last": entity.last,
            }
            for entity in entities(fields["tags"])
        ]
    return fields


def translation_fields(group: Sequence[Translation]) -> dict[str, Any]:
    """The translations of a text and their scores, best first; with their attention and the words
    that it is between, if it was asked for.
    """
    return {"translations": [_translation(each) for each in group]}


def _translation(translation: Translation) -> dict[str, Any]:
    fields = {"text": translation.text, "score": round(translation.score, DIGITS)}
    if translation.attention is None:
        return fields
    return fields | {
        "source": list(translation.source),
        "words": list(translation.words),
        "attention": translation.attention.round(DIGITS).tolist(),
    }


def _rounded(probabilities: dict[str, float]) -> dict[str, float]:
    return {name: round(value, DIGITS) for name, value in probabilities.items()}
