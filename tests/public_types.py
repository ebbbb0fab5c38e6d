"""What a user's type checker knows of the public functions: nothing runs this file, but `mypy`
reads it with the others and fails if a type is another one.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import assert_type

from torch import Tensor

from captioner import Caption, Captioner
from charlm import CharLM
from sequences import Classification, Classifier, TaggedWord, Tagger, Translation, Translator


def captions(captioner: Captioner) -> None:
    assert_type(Captioner.load(), Captioner)
    assert_type(captioner.caption("dog.jpg"), Caption)
    assert_type(captioner.caption("dog.jpg").text, str)
    assert_type(captioner.caption(["a.jpg", "b.jpg"]), list[Caption])
    assert_type(captioner.caption_batch(["a.jpg", "b.jpg"]), list[Caption])
    assert_type(captioner.candidates("dog.jpg", 3), list[Caption])


def texts(lm: CharLM) -> None:
    assert_type(CharLM.load(), CharLM)
    assert_type(lm.sample("ROMEO:"), Iterator[str])
    assert_type(lm.log_probs("to be"), Tensor)


def sentences() -> None:
    assert_type(Classifier.load("sentiment").classify("fine"), Classification)
    assert_type(Tagger.load("pos").tag("fine"), list[TaggedWord])
    assert_type(Translator.load("runs/mine").translate_batch(["fine"]), list[Translation])
