"""Whatever goes wrong in a handler becomes one sentence on the page, and nothing else."""

from __future__ import annotations

import functools
import inspect
import logging
import re
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from html import escape
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


def requests_in_words(page: gr.Blocks) -> None:
    """Let a request that Gradio itself refuses, for it has too few values or a file of the
    server's, be answered by a sentence too.

    Gradio would answer such a one with nothing, and print a traceback for whoever runs the page.
    """
    process = page.process_api

    @functools.wraps(process)
    async def process_api(*args: Any, **kwargs: Any) -> Any:
        try:
            return await process(*args, **kwargs)
        except gr.Error:
            raise
        except Exception as error:
            raise gr.Error(
                escape(refusal(error), quote=False), duration=20, print_exception=False
            ) from None

    page.process_api = process_api


def refusal(error: Exception) -> str:
    """What is said to a request that does not fit, in place of the error that came of it; the
    reason is logged in one line.
    """
    first = f"{type(error).__name__}: {error}".split("\n", 1)[0][:300]
    reason = "".join(character for character in first if character.isprintable())
    logger.warning("a request was refused (%s)", reason)
    logger.debug("where it failed", exc_info=error)
    return (
        "This request does not fit what the page takes"
        f" ({sentence(UserError(reason)).rstrip('.')}); its API page shows what does."
    )


def sentence(error: BaseException) -> str:
    """An error as a visitor should read it: without the server's paths, as a sentence."""
    text = str(error)
    for folder in (str(temporary_folder()), tempfile.gettempdir()):
        text = re.sub(re.escape(folder) + r"(?:/[0-9a-zA-Z_-]+)*/", "", text)
    text = re.sub(
        r"[;:,]? \(?(?:check|use|see|or use) --[^;.)]*\)?", "", text
    )  # advice for the command line
    text = re.sub(r"--([a-z-]+)", lambda flag: f"'{flag[1].replace('-', ' ')}'", text)
    if "." not in text.split(" ", 1)[0]:  # a file's name stays as it is
        text = text[:1].upper() + text[1:]
    return text if text.endswith((".", "?", "!")) else f"{text}."


@contextmanager
def _in_words() -> Iterator[None]:
    try:
        yield
    except gr.Error:
        raise
    except UserError as error:
        # Escaped, for Gradio shows it as HTML, and a file's name may be anything.
        raise gr.Error(
            escape(sentence(error), quote=False), duration=20, print_exception=False
        ) from None
    except Exception as error:
        logger.exception("a handler failed")
        raise gr.Error(
            f"Something unexpected went wrong here ({type(error).__name__}); the page still works.",
            duration=20,
            print_exception=False,
        ) from None
