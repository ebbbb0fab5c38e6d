"""Which words of a caption people support: those that a reference of the same photo uses too.

A caption's content words are its words without the function words below. They are compared in the
singular, so "dogs" supports "dog". A colour is supported by the same colour; a gendered word by any
word of the same gender, and it is judged only if some reference says a person's gender.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from rnnkit.metrics.bootstrap import interval, resample
from rnnkit.metrics.ngrams import Tokens

KINDS = ("content", "colour", "gendered")


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


COLOURS = _words(
    "black white grey red pink orange yellow green blue purple brown tan beige gold silver blond"
    " maroon teal turquoise violet navy"
)
MALE = _words(
    "man boy guy gentleman male father dad son brother grandfather husband boyfriend groom dude"
    " cowboy policeman fireman fisherman businessman cameraman baseman groomsman"
)
FEMALE = _words(
    "woman girl lady female mother mom daughter sister grandmother wife girlfriend bride bridesmaid"
    " cowgirl policewoman businesswoman waitress ballerina"
)
NUMBERS = _words("two three four five six seven eight nine ten")
FUNCTION_WORDS = _words(
    "a an the one this that these those some any each every all both other another several many"
    " few group couple bunch it its they them their he him his himself she her hers herself there"
    " here who which what whose while where when how as with without and or but than then of in on"
    " at to from by for near next into onto over under through across down up out off along behind"
    " between around above below against inside outside towards toward beside front top is are was"
    " were be been being has have had having do does did doing can will not no n't 's s so very"
    " just"
)
_IRREGULAR = {
    "men": "man", "women": "woman", "people": "person", "children": "child", "gray": "grey",
    "blonde": "blond", "wolves": "wolf", "knives": "knife", "shelves": "shelf", "leaves": "leaf",
    "loaves": "loaf", "scarves": "scarf", "calves": "calf", "feet": "foot", "teeth": "tooth",
    "geese": "goose", "mice": "mouse", "buses": "bus", "skis": "ski", "tomatoes": "tomato",
    "potatoes": "potato", "cookies": "cookie", "movies": "movie", "hoodies": "hoodie",
}  # fmt: skip


def singular(word: str) -> str:
    """A word without its plural ending, roughly: what matters is that both numbers come out alike.

    So "rides" and "ride" do too.
    """
    if word in _IRREGULAR:
        return _IRREGULAR[word]
    if len(word) > 4 and word.endswith("men"):
        return f"{word[:-3]}man"
    if len(word) > 4 and word.endswith("ies"):
        return word[:-3] + "y"
    if len(word) > 4 and word.endswith(("ches", "shes", "sses", "xes")):
        return word[:-2]
    if len(word) > 3 and word.endswith("s") and not word.endswith(("ss", "us", "is")):
        return word[:-1]
    return word


def is_content(word: str) -> bool:
    """Whether a word of a caption is none of the function words."""
    return word not in FUNCTION_WORDS


def content_words(tokens: Tokens) -> list[str]:
    """The content words of a caption, in the singular."""
    return [singular(word) for word in tokens if is_content(word)]


def gender(word: str) -> str:
    """What a word in the singular says of a person: male, female or nothing."""
    return "male" if word in MALE else "female" if word in FEMALE else ""


class References:
    """What the references of one photo say."""

    def __init__(self, captions: Iterable[Tokens]) -> None:
        self.words = frozenset(word for tokens in captions for word in content_words(tokens))
        self._genders = frozenset(filter(None, map(gender, self.words)))

    def support(self, word: str) -> bool:
        """Whether a reference uses this content word, in either number."""
        return singular(word) in self.words

    def share(self, tokens: Tokens) -> float:
        """The share of a caption's content words that references use; 0 if it has none."""
        words = content_words(tokens)
        return sum(word in self.words for word in words) / len(words) if words else 0.0

    def contradictions(self, tokens: Tokens) -> int:
        """How many of a caption's words give a person a gender that no reference mentions."""
        said = filter(None, map(gender, content_words(tokens)))
        return sum(each not in self._genders for each in said)

    def judge(self, tokens: Tokens) -> dict[str, list[tuple[str, bool]]]:
        """By kind, the caption's words in the singular, and whether each is supported."""
        words = content_words(tokens)
        gendered = [word for word in words if gender(word)] if self._genders else []
        return {
            "content": [(word, word in self.words) for word in words],
            "colour": [(word, word in self.words) for word in words if word in COLOURS],
            "gendered": [(word, gender(word) in self._genders) for word in gendered],
        }


@dataclass(frozen=True)
class Support:
    """How many of the words of many captions the references support.

    Attributes:
        values: by kind, the share that is supported; kinds without any word are left out.
        intervals: 95% bootstrap over images, if asked for.
        drawn: the bootstrap's shares (resamples,), nan where a draw has no word of a kind.
        judged: by kind, how many words there are.
        content_words: for each caption on average.
        unsupported: the content words that most often lack support: word, how often, of how often.
    """

    values: dict[str, float]
    intervals: dict[str, tuple[float, float]]
    drawn: dict[str, np.ndarray]
    judged: dict[str, int]
    content_words: float
    unsupported: list[tuple[str, int, int]]


def score_support(
    captions: Sequence[Tokens],
    references: Sequence[Sequence[Tokens]],
    *,
    bootstrap: int = 0,
    seed: int = 0,
    listed: int = 10,
) -> Support:
    """The support of captions by the references of their photos.

    Args:
        captions: tokenised, one for each photo.
        references: tokenised, at least one for each photo.
        bootstrap, seed: as in `score_captions`.
        listed: how many of the unsupported words to list.
    """
    judged = [
        References(group).judge(tokens) for tokens, group in zip(captions, references, strict=True)
    ]
    counts = {  # (images, 2): supported words and all words
        kind: np.array([(sum(ok for _, ok in image[kind]), len(image[kind])) for image in judged])
        for kind in KINDS
    }
    present = [kind for kind in KINDS if counts[kind][:, 1].any()]

    def shares(images: np.ndarray) -> dict[str, float]:
        sums = {kind: counts[kind][images].sum(axis=0) for kind in present}
        return {kind: float(ok / total) if total else np.nan for kind, (ok, total) in sums.items()}

    drawn = resample(shares, len(captions), bootstrap, seed)
    finite = {kind: found[np.isfinite(found)] for kind, found in drawn.items()}
    uses = Counter(word for image in judged for word, _ in image["content"])
    lacking = Counter(word for image in judged for word, ok in image["content"] if not ok)
    return Support(
        values=shares(np.arange(len(captions))),
        intervals={kind: interval(found) for kind, found in finite.items() if len(found)},
        drawn=drawn,
        judged={kind: int(counts[kind][:, 1].sum()) for kind in KINDS},
        content_words=float(counts["content"][:, 1].mean()),
        unsupported=[(word, count, uses[word]) for word, count in lacking.most_common(listed)],
    )


def people_support(
    references: Sequence[Sequence[Tokens]], *, bootstrap: int = 0, seed: int = 0
) -> Support | None:
    """How people support one another: each photo's last reference against its others.

    Returns: None if fewer than two photos have several references.
    """
    several = [group for group in references if len(group) > 1]
    if len(several) < 2:
        return None
    last, others = [group[-1] for group in several], [group[:-1] for group in several]
    return score_support(last, others, bootstrap=bootstrap, seed=seed)
