"""Reads sentences for the Read tab and for /classify, /tag and /translate."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

from rnnkit.errors import UserError
from webui.client_values import whole_number
from webui.lazy_model import LazyModel
from webui.readers import Reader

if TYPE_CHECKING:
    from sequences import Classification, Classifier, TaggedWord, Tagger, Translation, Translator

Model = TypeVar("Model")
MAX_TEXT = 5000  # characters
MAX_WORDS = 100  # of a text that is read word by word or translated, which takes longer
MAX_BEAM = 20


def available(model: LazyModel[Reader[Model]] | None, does: str) -> Reader[Model]:
    """A model that may not be there.

    Args:
        does: what it is for, such as "to translate".

    Raises: UserError if there is none, or it could not be loaded.
    """
    if model is None:
        raise UserError(f"this page has no model {does}: start it with one, by --sequences FOLDER")
    return model.get()


def classify(reader: Reader[Classifier], text: Any) -> Classification:
    """The label of a text. Raises: UserError if it has no words, or too many."""
    checked = _text(text)
    with reader.lock:
        return reader.model.classify(checked)


def as_read(reader: Reader[Classifier], text: Any) -> list[tuple[str, dict[str, float]]]:
    """Each word, and the probabilities of the labels if the text ended after it.

    Raises: UserError as `classify` does.
    """
    checked = _short(_text(text))
    with reader.lock:
        return reader.model.as_read(checked)


def tag(reader: Reader[Tagger], text: Any, *, tokens: bool = False) -> list[TaggedWord]:
    """The words of a text and their tags.

    Args:
        tokens: whether spaces separate the words already.

    Raises: UserError as `classify` does.
    """
    checked = _text(text)
    words = checked.split() if tokens else checked
    if not words:
        raise UserError("the text has no words")
    with reader.lock:
        return reader.model.tag(words)


def translate(
    reader: Reader[Translator],
    text: Any,
    *,
    beam_size: Any = 5,
    num_translations: Any = 1,
    with_attention: bool = False,
) -> list[Translation]:
    """Translations of a text, best first.

    Raises: UserError as `classify` does, or naming a number that is out of its range.
    """
    checked = _short(_text(text))
    beam = whole_number(beam_size, "the beam size", 1, MAX_BEAM)
    count = whole_number(num_translations, "the number of translations", 1, MAX_BEAM)
    with reader.lock:
        return reader.model.candidates(
            [checked], count, beam_size=beam, with_attention=with_attention
        )[0]


def doubt(reader: Reader[Translator], text: str) -> str:
    """Why a translation of a text is not to be trusted, in a sentence; "" for no reason."""
    why = reader.model.doubt(text)
    return why[:1].upper() + why[1:]


def _text(text: Any) -> str:
    if not isinstance(text, str):
        raise UserError("the text must be text")
    if len(text) > MAX_TEXT:
        raise UserError(
            f"the text has {len(text):,} characters, more than the limit of {MAX_TEXT:,}"
        )
    return text


def _short(text: str) -> str:
    from sequences.words import split_words

    count = len(split_words(text))
    if count > MAX_WORDS:
        raise UserError(
            f"the text has {count:,} words, more than the limit of {MAX_WORDS}: shorten it"
        )
    return text
