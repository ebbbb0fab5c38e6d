"""Text that is put around captions, such as a trigger word."""

from __future__ import annotations

from dataclasses import dataclass, replace

from captioner.types import Caption
from rnnkit.errors import UserError

_CLOSING = ",.;:!?)]}"


@dataclass(frozen=True)
class TextAround:
    """Text before and after every caption; calling it puts it around one.

    A space joins text and caption, unless the text has its own, or what follows begins with a
    punctuation mark: "sks" and "a dog" give "sks a dog", "a dog" and ", oil on canvas" give "a dog,
    oil on canvas".

    Raises: UserError for text that does not fit into a line of a caption file.
    """

    before: str = ""
    after: str = ""

    def __post_init__(self) -> None:
        for name, text in (("--prepend", self.before), ("--append", self.after)):
            if "\t" in text or len(text.splitlines()) > 1 or text != text.rstrip("\r\n"):
                raise UserError(f"the text of {name} has a tab or a line break: leave that out")
            if not text.isascii() and text.encode(errors="replace").decode() != text:
                raise UserError(f"the text of {name} is not UTF-8")

    def __bool__(self) -> bool:
        return bool(self.before or self.after)

    def __call__(self, text: str) -> str:
        return _joined(_joined(self.before, text), self.after)

    def once(self, text: str) -> str:
        """The same, without the part that the text begins or ends with already."""
        before = "" if text.startswith(self.before.strip()) else self.before
        after = "" if text.endswith(self.after.strip()) else self.after
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
