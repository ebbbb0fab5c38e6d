"""Errors as visitors read them."""

from __future__ import annotations

from collections.abc import Iterator

import gradio as gr
import pytest

from rnnkit.errors import UserError
from webui.errors import in_words, sentence
from webui.uploads import temporary_folder


@pytest.mark.parametrize(
    ("error", "said"),
    [
        ("there is no file", "There is no file."),
        ("dog.jpg is too large", "dog.jpg is too large."),
        (f"'{temporary_folder()}/0a1b/dataset.json' is damaged", "'dataset.json' is damaged."),
        (
            "nothing is usable (it lists no photos); check --images",
            "Nothing is usable (it lists no photos).",
        ),
        (
            "if so, --allow-missing scores what is there",
            "If so, 'allow missing' scores what is there.",
        ),
    ],
)
def test_an_error_is_a_sentence_without_the_servers_paths_and_flags(error: str, said: str) -> None:
    assert sentence(UserError(error)) == said


def test_a_handlers_errors_are_told_whatever_they_are_and_names_are_no_html() -> None:
    @in_words
    def refuse() -> None:
        raise UserError("<img src=x onerror=alert(1)>.jpg is no photo")

    @in_words
    def fail() -> Iterator[int]:
        yield 1
        raise KeyError("secret")

    with pytest.raises(gr.Error, match="&lt;img") as told:
        refuse()
    assert "<" not in told.value.message
    values = fail()
    assert next(values) == 1
    with pytest.raises(gr.Error, match=r"unexpected went wrong here \(KeyError\)") as told:
        next(values)
    assert "secret" not in told.value.message
