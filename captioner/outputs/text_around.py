"""Text that is put around captions, such as a trigger word."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

from captioner.types import Caption
from rnnkit.errors import UserError

_CLOSING = ",.;:!?)]}"


def check_line(text: str, flag: str) -> None:
    """Raises: UserError naming the flag if its text does not fit into a line of a caption file."""
    if "\t" in text or len(text.splitlines()) > 1 or text != text.rstrip("\r\n"):
        raise UserError(f"the text of {flag} has a tab or a line break: leave that out")
    if not text.isascii() and text.encode(errors="replace").decode() != text:
        raise UserError(f"the text of {flag} is not UTF-8")


@dataclass(frozen=True)
class TextAround:
    """Text before and after every caption; calling it puts it around one.

    A space joins text and caption, unless the text has its own, or what follows begins with a
    punctuation mark: "sks" and "a dog" give "sks a dog", "a dog" and ", oil on canvas" give "a dog,
    oil on canvas".

    Raises: UserError for text that does not fit into a line.
    """

    before: str = ""
    after: str = ""

    def __post_init__(self) -> None:
        check_line(self.before, "--prepend")
        check_line(self.after, "--append")

    def __bool__(self) -> bool:
        return bool(self.before or self.after)

    def __call__(self, text: str) -> str:
        return _joined(_joined(self.before, text), self.after)

    def once(self, text: str) -> str:
        """The same, without the part that the text begins or ends with already, as whole words."""
        own = re.escape(self.before.strip()), re.escape(self.after.strip())
        before = "" if re.match(rf"{own[0]}(?!\B\w)", text) else self.before
        after = "" if re.search(rf"(?<!\w\B){own[1]}\Z", text) else self.after
        return _joined(_joined(before, text), after)

    def around(self, caption: Caption) -> Caption:
        """A caption with the text around it; nothing is known of how sure these words are."""
        if not self:
            return caption
        before, after = tuple(self.before.split()), tuple(self.after.split())
        sure = caption.word_confidence
        return replace(
            caption,
            text=self(caption.text),
            words=(*before, *caption.words, *after),
            word_confidence=None
            if sure is None
            else ((None,) * len(before) + sure + (None,) * len(after)),
        )


def _joined(first: str, second: str) -> str:
    spaced = first[-1:].isspace() or second[:1].isspace() or second[:1] in _CLOSING
    return f"{first}{second}" if not first or not second or spaced else f"{first} {second}"
