"""What goes in and what comes out: how to decode, a caption, and the result for one photo."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypedDict

import numpy as np

from captioner.data.images import Source
from rnnkit.errors import UserError
from rnnkit.settings import check_ranges, setting


@dataclass(frozen=True)
class Decoding:
    """How sentences are chosen; the defaults are those of the command line.

    Raises: UserError naming a value that is out of its range, or one that is only for sampling.
    """

    beam_size: int = setting(3, "Sentences kept while searching; 1 is greedy.", low=1, high=100)
    num_captions: int = setting(
        1,
        "Captions for each photo, best first. If more than --beam-size, the search keeps as many"
        " sentences.",
        low=1,
        high=100,
    )
    max_length: int = setting(20, "Longest caption in words.", low=1, high=100)
    # None: the checkpoint's own, which was chosen on validation photos
    length_penalty: float | None = setting(
        None,
        "Exponent of the length that divides scores: higher favours longer captions; if not given,"
        " the model's own.",
        low=-100,
        high=100,
    )
    sample: bool = setting(False, "Draw words at random instead of searching.")
    temperature: float = setting(
        1.0, "Below 1 makes likely words likelier; with --sample.", low=0.01, high=100
    )
    top_p: float = setting(
        1.0,
        "Draw only from the likeliest words whose probabilities sum to this; with --sample.",
        above=0,
        high=1,
    )
    seed: int | None = setting(
        None, "The same seed draws the same sentences; with --sample.", low=0, high=2**63 - 1
    )
    careful: bool = setting(
        False,
        "Search again without the colours, numbers and gendered words that are unsure; a gender"
        " must be almost certain, unless --gender-clarity says otherwise.",
    )
    # None: the checkpoint's own
    gender_clarity: float | None = setting(
        None,
        "A caption states a person's gender only if it has more than this share of the probability"
        " of both genders together, and says person or child otherwise; 0 leaves the choice to the"
        " network, 1 never states it; if not given, the model's own.",
        low=0,
        high=1,
    )
    min_length: int = setting(1, "Shortest caption in words.", low=1, high=100)
    prefix: str = setting(
        "",
        "Words that the model is made to begin each caption with; it goes on from them. For text"
        " around finished captions, see --prepend.",
    )

    def __post_init__(self) -> None:
        check_ranges(self)
        if self.min_length > self.max_length:
            raise UserError(
                f"a caption cannot have at least {self.min_length} and at most {self.max_length}"
                " words",
                hint="lower --min-length, or raise --max-length",
            )
        if not self.sample:
            for name, default in (("temperature", 1.0), ("top_p", 1.0), ("seed", None)):
                if (value := getattr(self, name)) != default:
                    raise UserError(
                        f"{name.replace('_', '-')} {value} is for sampling, but the likeliest"
                        " sentence is searched for",
                        hint=f"add --sample, or leave out --{name.replace('_', '-')}",
                    )


class DecodingOptions(TypedDict, total=False):
    """The fields of `Decoding` as keyword arguments; `Captioner.candidates` sets num_captions."""

    beam_size: int
    max_length: int
    length_penalty: float | None
    sample: bool
    temperature: float
    top_p: float
    seed: int | None
    careful: bool
    gender_clarity: float | None
    min_length: int
    prefix: str


@dataclass(frozen=True)
class Caption:
    """A sentence about a photo.

    Attributes:
        text: the sentence.
        score: the natural-log probability divided by (words + 1) ** length_penalty; for a sampled
            sentence, divided by (words + 1). The words of a prefix are given, so they do not count.
            A search's captions are in the order of score + confidence, sampled ones in that of
            their scores.
        words: its words, with those of a prefix.
        attention: (words, rows, columns), how much of its attention each word paid to each region
            of the photo; a word's values sum to 1 or less. None unless it was asked for.
        log_prob: the natural log of the sentence's probability, after the prefix if there is one.
        photo: what the captioner was given, if it was called with a photo.
        word_confidence: for each word, the probability that people use it for this photo, and None
            for function words (a, on, with ...) and those of a prefix; None if the checkpoint has
            no model of it.
        confidence: their mean, 0 for a caption of function words alone.
    """

    text: str
    score: float
    words: tuple[str, ...]
    attention: np.ndarray | None = None
    log_prob: float = math.nan
    photo: Source | None = field(default=None, repr=False, compare=False)
    word_confidence: tuple[float | None, ...] | None = None
    confidence: float | None = None

    @classmethod
    def written(cls, text: str) -> Caption:
        """A caption that was found in a file without a score, or that a person wrote."""
        return cls(text, math.nan, ())

    def __str__(self) -> str:
        return self.text

    def _repr_html_(self) -> str:
        """In a notebook: the sentence, with the photo and each word's attention if known."""
        from captioner.figures.notebook import caption_html

        return caption_html(self.text, self.words, self.attention, self.photo)


@dataclass(frozen=True)
class EncodedPicture:
    """An encoded picture that is not in a file of its own, and what results call it."""

    path: Path
    data: bytes


@dataclass(frozen=True)
class CaptionResult:
    """What became of one photo: its captions, best first, or the reason why it has none.

    Attributes:
        source: the picture that was captioned, where it did not come from a file.
        unsure: its best caption is less sure than was asked for.
    """

    path: Path
    captions: tuple[Caption, ...] = ()
    error: str | None = None
    source: EncodedPicture | None = field(default=None, compare=False, repr=False)
    unsure: bool = False
