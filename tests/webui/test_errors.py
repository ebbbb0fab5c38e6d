"""Errors as visitors read them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import gradio as gr
import pytest

from rnnkit.errors import UserError
from webui.errors import in_words, sentence
from webui.uploads import temporary_folder


@pytest.mark.parametrize(
    ("error", "shown"),
    [
        (UserError("there is no file"), "There is no file."),
        (UserError("dog.jpg is too large"), "dog.jpg is too large."),
        (
            UserError(f"'{temporary_folder()}/0a1b/dataset.json' is damaged"),
            "'dataset.json' is damaged.",
        ),
        (UserError(f"cannot move {Path.cwd()}/x.jpg"), "Cannot move x.jpg."),
        (
            UserError("none of its photos is in the folder", hint="check --images"),
            "None of its photos is in the folder.",
        ),
    ],
)
def test_an_error_is_a_sentence_without_the_servers_paths_and_the_commands_advice(
    error: UserError, shown: str
) -> None:
    assert sentence(error) == shown


def test_a_handlers_errors_are_shown_whatever_they_are_and_names_are_not_html() -> None:
    @in_words
    def refuse() -> None:
        raise UserError("<img src=x onerror=alert(1)>.jpg is not a photo")

    @in_words
    def fail() -> Iterator[int]:
        yield 1
        raise KeyError("secret")

    with pytest.raises(gr.Error, match="&lt;img") as shown:
        refuse()
    assert "<" not in shown.value.message
    values = fail()
    assert next(values) == 1
    with pytest.raises(gr.Error, match=r"unexpected went wrong \(KeyError\)") as shown:
        next(values)
    assert "secret" not in shown.value.message
