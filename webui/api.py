"""The endpoints with names, for clients and MCP: /caption, /caption_many, /generate, /classify,
/tag, /translate, /score.

No `from __future__ import annotations` here: Gradio makes the documentation from the annotations
themselves.
"""

import inspect
from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import gradio as gr
from gradio.data_classes import FileData

from rnnkit.errors import UserError
from webui.errors import in_words
from webui.gradio_compat import describe_parameters, listener
from webui.services import reading, writing
from webui.services.caption_files import CaptionRow, csv_file
from webui.services.captioning import caption_photo, decoding_of
from webui.services.many_photos import HEADERS, caption_entries, gather
from webui.services.scoring import score_files
from webui.uploads import new_folder, temporary_folder
from webui.workers import Models


def build(models: Models) -> None:
    """Add the endpoints to the page."""

    def caption(
        photo: FileData,
        beam_size: int = 3,
        max_length: int = 20,
        sample: bool = False,
        temperature: float = 1.0,
        top_p: float = 1.0,
        seed: int | None = None,
        careful: bool = False,
        prefix: str = "",
        gender_clarity: float | None = None,
    ) -> str:
        """Write a sentence about a photo.

        Args:
            photo: The photo, uploaded or as a data URL; addresses are not fetched. JPEG, PNG, WebP,
                GIF, BMP, TIFF or AVIF, at most 20 MB.
            beam_size: How many sentences the search keeps; 1 is greedy.
            max_length: The caption has at most this many words.
            sample: Draw words at random instead of searching.
            temperature: Below 1 makes likely words likelier; with sample.
            top_p: Draw only from the likeliest words whose probabilities add up to this; with
                sample.
            seed: The same seed draws the same sentence; with sample.
            careful: Leave out unsure colours and numbers, and genders that are not almost certain.
            prefix: The caption begins with these words and goes on from them.
            gender_clarity: State a gender only if it has more than this share of both genders'
                probability; 0 guesses, 1 never states it.
        """
        decoding = decoding_of(
            beam_size=beam_size,
            max_length=max_length,
            sample=sample,
            temperature=temperature,
            top_p=top_p,
            seed=seed,
            careful=careful,
            prefix=prefix,
            gender_clarity=gender_clarity,
        )
        return caption_photo(models.captioner.get(), photo, decoding)[0].text

    def caption_many(
        photos: list[FileData],
        beam_size: int = 3,
        max_length: int = 20,
        sample: bool = False,
        temperature: float = 1.0,
        top_p: float = 1.0,
        seed: int | None = None,
        careful: bool = False,
        gender_clarity: float | None = None,
    ) -> tuple[dict[str, Any], FileData]:
        """Write a sentence about each of several photos, or of those in a ZIP; a photo that cannot
        be used gets a note that says why.

        Args:
            photos: Photos or ZIPs of photos, at most 500 photos in all.
            beam_size: How many sentences the search keeps; 1 is greedy.
            max_length: A caption has at most this many words.
            sample: Draw words at random instead of searching.
            temperature: Below 1 makes likely words likelier; with sample.
            top_p: Draw only from the likeliest words whose probabilities add up to this; with
                sample.
            seed: The same seed draws the same sentences; with sample.
            careful: Leave out unsure colours and numbers, and genders that are not almost certain.
            gender_clarity: State a gender only if it has more than this share of both genders'
                probability; 0 guesses, 1 never states it.

        Returns:
            The table (headers, and data with a row for each photo), and the same as a CSV file.
        """
        decoding = decoding_of(
            beam_size=beam_size,
            max_length=max_length,
            sample=sample,
            temperature=temperature,
            top_p=top_p,
            seed=seed,
            careful=careful,
            gender_clarity=gender_clarity,
        )
        if not photos:
            raise UserError("there are no photos")
        with TemporaryDirectory(dir=temporary_folder(), ignore_cleanup_errors=True) as work:
            entries = gather(photos, Path(work))
            wanted = listener()
            for _ in caption_entries(models.captioner.get(), entries, decoding):
                if not wanted():
                    raise UserError("nobody waits for the captions any more")
        rows = [
            CaptionRow(entry.name, entry.caption or "", entry.score, error=entry.error)
            for entry in entries
        ]
        file = new_folder() / "captions.csv"
        file.write_bytes(csv_file(rows))
        cells = [entry.cells for entry in entries]
        return {"headers": HEADERS, "data": cells}, FileData(path=str(file))

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
            length: How many characters to write.
            temperature: Below 1 is tamer, above 1 wilder; 0 always takes the likeliest
                character.
            top_k: Draw only from the k likeliest characters; 0 is all.
            top_p: Draw only from the likeliest characters whose probabilities add up to this.
            stop: Stop before this text; empty for none.
            seed: The same seed gives the same text.
        """
        worker = models.charlm.get()
        draft = writing.begin(worker, prompt, writing.random_seed() if seed is None else seed)
        growing = writing.write(
            worker,
            draft,
            length=length,
            temperature=temperature,
            top_k=top_k,
            top_p=top_p,
            stop=stop,
        )
        for (written,) in growing:
            yield draft.prompt + written

    def score(
        references: FileData,
        predictions: FileData,
        split: str = "automatic",
        allow_missing: bool = False,
    ) -> dict[str, Any]:
        """Score captions against references: BLEU-1 to 4, ROUGE-L and CIDEr-D with 95% bootstrap
        intervals, as fractions.

        Args:
            references: Captions by people: COCO's or Karpathy's JSON, Flickr8k's token file, a CSV
                or plain text.
            predictions: A COCO results file, [{"image_id", "caption"}, ...], or JSONL, CSV or TSV
                as `captioner caption` writes.
            split: automatic, test, val, train or all.
            allow_missing: Score only the photos that have a caption.
        """
        return score_files(references, predictions, split, allow_missing).report.as_json()

    def classify(text: str, after_each_word: bool = False) -> dict[str, Any]:
        """Say which label a text has: the label, its probability, and those of all labels.

        Args:
            text: A sentence, at most 5,000 characters.
            after_each_word: Add a list, reading: each word, and what the probabilities would be if
                the text ended after it; for at most 100 words.
        """
        reader = reading.available(models.readers.classifier, "to classify")
        from sequences.answers import label_fields, reading_fields

        fields = label_fields(reading.classify(reader, text))
        return fields | (reading_fields(reading.as_read(reader, text)) if after_each_word else {})

    def tag(text: str, entities: bool = False, tokens: bool = False) -> dict[str, Any]:
        """Tag each word of a text: its words, their tags and the probabilities of these.

        Args:
            text: A sentence, at most 5,000 characters.
            entities: Look for names instead of parts of speech; a list, entities, has them whole.
            tokens: The words are separated by spaces already.
        """
        readers = models.readers
        model = readers.entity_tagger if entities else readers.tagger
        reader = reading.available(model, "to find names" if entities else "to tag words")
        words = reading.tag(reader, text, tokens=tokens)
        from sequences.answers import tag_fields

        return tag_fields(words, whole_entities=entities)

    def translate(
        text: str, beam_size: int = 5, num_translations: int = 1, attention: bool = False
    ) -> dict[str, Any]:
        """Translate a sentence: a list of translations and their scores, best first.

        Args:
            text: A sentence of at most 100 words; for the bundled model, in Indonesian.
            beam_size: How many translations the search keeps; 1 is greedy.
            num_translations: How many to return.
            attention: Add, to each, the words of the text and of the translation, and for each of
                these a row of where it looked in the text.
        """
        reader = reading.available(models.readers.translator, "to translate")
        group = reading.translate(
            reader,
            text,
            beam_size=beam_size,
            num_translations=num_translations,
            with_attention=attention,
        )
        from sequences.answers import translation_fields

        return translation_fields(group)

    _add(caption, "captioner", 32)
    _add(caption_many, "captioner", 32)
    _add(generate, "charlm", 8, returns=str)
    _add(classify, "sequences", 8)
    _add(tag, "sequences", 8)
    _add(translate, "sequences", 8)
    _add(score, "score", 1)


def _add(function: Callable[..., Any], group: str, limit: int, *, returns: Any = None) -> None:
    """Make an endpoint of a function, under its name.

    Args:
        group: endpoints and events of one group share one limit of how many run at a time.
        returns: for a generator, the type of what it yields.
    """
    wrapped = in_words(function)
    if returns is not None:
        signature = inspect.signature(function).replace(return_annotation=returns)
        wrapped.__signature__ = signature  # type: ignore[attr-defined]
    endpoint = gr.api(
        wrapped, api_name=function.__name__, concurrency_id=group, concurrency_limit=limit
    )
    describe_parameters(endpoint, function)
