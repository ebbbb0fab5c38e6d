"""Whatever goes wrong becomes one sentence on the page.

Two wrappers share the work. `in_words` goes around each of our handlers: a UserError is shown as
it is, in the page's corner or where the handler would have shown its result, and anything else is
a bug of ours, which is logged. `gradio_compat.answer_misfits` goes
around Gradio's own processing of a request, which fails before a handler is called if the request
does not fit it; `misfit` then says so. `RequestFilter` uses the same words where Gradio fails
before it has even found the endpoint.
"""

from __future__ import annotations

import functools
import inspect
import logging
import re
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from html import escape
from pathlib import Path
from typing import Any, TypeVar

import gradio as gr

from rnnkit.errors import UserError
from webui.uploads import temporary_folder

logger = logging.getLogger(__name__)
Handler = TypeVar("Handler", bound=Callable[..., Any])


def in_words(handler: Handler) -> Handler:
    """A handler whose errors a visitor reads as sentences."""

    if inspect.isgeneratorfunction(handler):

        @functools.wraps(handler)
        def stream(*args: Any, **kwargs: Any) -> Iterator[Any]:
            with _in_words():
                yield from handler(*args, **kwargs)

        return stream  # type: ignore[return-value]

    @functools.wraps(handler)
    def call(*args: Any, **kwargs: Any) -> Any:
        with _in_words():
            return handler(*args, **kwargs)

    return call  # type: ignore[return-value]


@contextmanager
def _in_words() -> Iterator[None]:
    try:
        yield
    except gr.Error:
        raise
    except UserError as error:
        raise page_error(sentence(error)) from None
    except Exception as error:
        logger.exception("a handler failed")
        kind = type(error).__name__
        raise page_error(
            f"Something unexpected went wrong ({kind}); the page still works."
        ) from None


def shown_by(draw: Callable[[str], Any]) -> Callable[[Handler], Handler]:
    """Makes of a handler one whose UserErrors stand where its result would.

    Args:
        draw: what to send to the page for a sentence.
    """

    def wrap(handler: Handler) -> Handler:
        if inspect.isgeneratorfunction(handler):

            @functools.wraps(handler)
            def stream(*args: Any, **kwargs: Any) -> Iterator[Any]:
                try:
                    yield from handler(*args, **kwargs)
                except UserError as error:
                    yield draw(sentence(error))

            return in_words(stream)  # type: ignore[return-value]

        @functools.wraps(handler)
        def call(*args: Any, **kwargs: Any) -> Any:
            try:
                return handler(*args, **kwargs)
            except UserError as error:
                return draw(sentence(error))

        return in_words(call)  # type: ignore[return-value]

    return wrap


def misfit(error: Exception) -> str:
    """What to answer to a request that does not fit; the reason is logged in one line."""
    first = f"{type(error).__name__}: {error}".split("\n", 1)[0][:300]
    reason = "".join(character for character in first if character.isprintable())
    logger.warning("a request was refused (%s)", reason)
    logger.debug("where it failed", exc_info=error)
    reason = sentence(UserError(reason)).rstrip(".")
    return f"This request does not fit what the page takes ({reason}); see its API page."


def page_error(text: str) -> gr.Error:
    """A sentence as an error on the page. Gradio takes it for HTML, and a file's name may be
    anything, so it is escaped.
    """
    return gr.Error(escape(text, quote=False), duration=20, print_exception=False)


def sentence(error: UserError) -> str:
    """An error as a visitor should read it: a sentence without the server's paths, and without
    the hint, which is about the command line.
    """
    text = error.message
    for folder in (str(temporary_folder()), str(Path.cwd()), tempfile.gettempdir()):
        text = re.sub(re.escape(folder) + r"(?:/[0-9a-zA-Z_-]+)*/", "", text)
    if "." not in text.split(" ", 1)[0]:  # a file's name stays as it is
        text = text[:1].upper() + text[1:]
    return text if text.endswith((".", "?", "!")) else f"{text}."
