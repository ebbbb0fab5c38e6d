"""Captions one photo, for the Caption tab and for /caption."""

from __future__ import annotations

from typing import Any

from captioner import Caption, Decoding, ImageError
from rnnkit.errors import UserError
from webui.client_values import real_number, whole_number
from webui.uploads import receive
from webui.workers import CaptionWorker


def decoding_of(
    *,
    beam_size: Any,
    num_captions: Any = 1,
    max_length: Any,
    sample: bool,
    temperature: Any,
    top_p: Any,
    seed: Any,
    careful: Any = False,
    prefix: Any = "",
    gender_clarity: Any = None,
) -> Decoding:
    """Settings as a client sent them; an empty seed or None draws another sentence each time.

    Raises: UserError naming a setting that is not a number or out of its range.
    """
    if not isinstance(prefix, str):
        raise UserError("the words to begin with must be text")
    return Decoding(
        beam_size=whole_number(beam_size, "the beam size"),
        num_captions=whole_number(num_captions, "the number of captions"),
        max_length=whole_number(max_length, "the length"),
        sample=bool(sample),
        temperature=real_number(temperature, "the temperature"),
        top_p=real_number(top_p, "top-p"),
        # Any whole number will do, a negative one too.
        seed=None if seed is None or seed == "" else whole_number(seed, "the seed") % 2**63,
        careful=bool(careful),
        prefix=" ".join(prefix.split()),
        gender_clarity=(
            None if gender_clarity is None else real_number(gender_clarity, "the gender clarity")
        ),
    )


def caption_photo(
    worker: CaptionWorker, photo: Any, decoding: Decoding, *, attention: bool = False
) -> list[Caption]:
    """Captions of a photo as a client sent it, best first.

    Raises: UserError naming the photo and why it cannot be used.
    """
    upload = receive(photo)
    try:
        return worker.caption(upload.source, decoding, attention=attention)
    except ImageError as error:
        raise UserError(f"{upload.name} cannot be used: {error.reason}") from None
