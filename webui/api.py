"""The endpoints with names, for clients and MCP: /caption, /caption_many, /generate, /score.

No `from __future__ import annotations` here: Gradio makes the documentation from the annotations
themselves.
"""

import inspect
import random
from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import gradio as gr
from gradio.data_classes import FileData
from gradio.utils import get_function_description

from captioner import Decoding
from rnnkit.errors import UserError
from webui.decoding_options import SAMPLING, decoding
from webui.errors import in_words
from webui.tabs.caption import caption_photo
from webui.tabs.many_photos import HEADERS, caption_entries, gather, scores_of, write_csv
from webui.tabs.score import score_files
from webui.tabs.write import MAX_LENGTH, begin, choice_of, stream, whole_number
from webui.uploads import new_folder, received, temporary_folder
from webui.workers import Models


def build(models: Models) -> None:
    """Add the endpoints to the page."""

    def settings(
        beam_size: int,
        max_length: int,
        sample: bool,
        temperature: float,
        top_p: float,
        seed: int | None,
    ) -> Decoding:
        return decoding(
            SAMPLING if sample else "", beam_size, 1, max_length, temperature, top_p, seed
        )

    def caption(
        photo: FileData,
        beam_size: int = 3,
        max_length: int = 20,
        sample: bool = False,
        temperature: float = 1.0,
        top_p: float = 1.0,
        seed: int | None = None,
    ) -> str:
        """Write a sentence about a photo.

        Args:
            photo: The photo, uploaded or as a data URL; addresses are not fetched. JPEG, PNG, WebP,
                GIF, BMP, TIFF or AVIF, at most 20 MB.
            beam_size: Sentences kept while searching; 1 is greedy.
            max_length: Longest caption in words.
            sample: Draw words at random instead of searching.
            temperature: Below 1 makes likely words likelier; with sample.
            top_p: Draw only from the likeliest words that sum to this; with sample.
            seed: The same seed draws the same sentence; with sample.
        """
        choice = settings(beam_size, max_length, sample, temperature, top_p, seed)
        return caption_photo(models.captioner.get(), received(photo), choice)[0].text

    def caption_many(
        photos: list[FileData],
        beam_size: int = 3,
        max_length: int = 20,
        sample: bool = False,
        temperature: float = 1.0,
        top_p: float = 1.0,
        seed: int | None = None,
    ) -> tuple[dict[str, Any], FileData]:
        """Write a sentence about each of several photos, or of those in a ZIP; a photo that cannot
        be used gets a note that says why.

        Args:
            photos: Photos or ZIPs of photos, at most 500 photos in all.
            beam_size: Sentences kept while searching; 1 is greedy.
            max_length: Longest caption in words.
            sample: Draw words at random instead of searching.
            temperature: Below 1 makes likely words likelier; with sample.
            top_p: Draw only from the likeliest words that sum to this; with sample.
            seed: The same seed draws the same sentence; with sample.

        Returns:
            The table (headers, and data with a row for each photo), and the same as a CSV file.
        """
        choice = settings(beam_size, max_length, sample, temperature, top_p, seed)
        if not photos:
            raise UserError("there are no photos")
        with TemporaryDirectory(dir=temporary_folder(), ignore_cleanup_errors=True) as work:
            entries = gather(photos, Path(work))
            for _ in caption_entries(models.captioner.get(), entries, choice):
                pass
        rows = [entry.cells for entry in entries]
        written = write_csv(rows, scores_of(entries), new_folder())
        return {"headers": HEADERS, "data": rows}, FileData(path=written)

    def generate(
        prompt: str,
        length: int = 200,
        temperature: float = 0.8,
        top_k: int = 0,
        top_p: float = 1.0,
        stop: str = "",
        seed: int | None = None,
    ) -> Iterator[str]:
        """Continue a prompt, a character at a time; each value is the whole text so far, prompt
        included.

        Args:
            prompt: The text to continue; characters that the model has never seen are left out.
            length: Characters to write.
            temperature: Below 1 likelier, above 1 wilder; 0 always takes the likeliest.
            top_k: Only the k likeliest characters; 0 is all.
            top_p: Only the likeliest characters whose probabilities sum to this.
            stop: End before this text; empty for none.
            seed: The same seed gives the same text.
        """
        shared = models.charlm.get()
        start = (
            random.randrange(2**31) if seed is None else whole_number(seed, "the seed", 0, 2**31)
        )
        characters, choice = (
            whole_number(length, "the length", 1, MAX_LENGTH),
            choice_of(temperature, top_k, top_p),
        )
        yield from stream(shared, begin(shared, prompt, start), characters, choice, stop)

    def score(
        references: FileData,
        predictions: FileData,
        split: str = "automatic",
        allow_missing: bool = False,
    ) -> dict[str, Any]:
        """Score captions against references: BLEU-1 to 4, ROUGE-L and CIDEr-D with 95 % bootstrap
        intervals, as fractions.

        Args:
            references: Captions by people: COCO's or Karpathy's JSON, Flickr8k's token file, a CSV
                or plain text.
            predictions: A COCO results file, [{"image_id", "caption"}, ...], or JSONL, CSV or TSV
                as `captioner caption` writes.
            split: automatic, test, val, train or all.
            allow_missing: Score the photos that have a caption, though others have none.
        """
        return score_files(references, predictions, split, allow_missing).report.as_json()

    _add(caption, "captioner", 32)
    _add(caption_many, "captioner", 32)
    _add(generate, "charlm", 8, returns=str)
    _add(score, "score", 1)


def _add(function: Callable[..., Any], group: str, limit: int, *, returns: Any = None) -> None:
    """Make an endpoint of a function, under its name.

    Args:
        group: endpoints and events of one group have one limit of how many run at a time.
        returns: of a generator, the type of what it yields.
    """
    wrapped = in_words(function)
    if returns is not None:
        wrapped.__signature__ = inspect.signature(function).replace(return_annotation=returns)  # type: ignore[attr-defined]
    block = gr.api(
        wrapped, api_name=function.__name__, concurrency_id=group, concurrency_limit=limit
    )
    _describe(block, function)


def _describe(endpoint: Any, function: Callable[..., Any]) -> None:
    """Put what the docstring says of each parameter where the API page shows it."""
    _, parameters, _ = get_function_description(function)
    root = gr.context.Context.root_block
    for component, name in zip(
        root.fns[endpoint["id"]].inputs, inspect.signature(function).parameters, strict=True
    ):
        component.label = name
        component._api_info = {**component._api_info, "additional_description": parameters[name]}
