"""BLEU-1..4, ROUGE-L and CIDEr-D as coco-caption defines them, on tokens like those of its Stanford
PTB tokeniser.

Every metric takes tokenised captions: predictions as a list of token lists, one an image, and
references as a list of lists of token lists, in the same order. Scores are fractions (CIDEr-D runs
from 0 to 10); papers print them times 100.
"""

from __future__ import annotations

import math
import re
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain

import numpy as np

from captioner.metrics.bootstrap import interval, resample
from captioner.metrics.ngrams import ORDERS, NgramCounts, NgramIndex, Tokens, count_pairs, matched

# What coco-caption drops after tokenising. Its tokeniser writes brackets in lower case, so those
# four names never match and brackets stay: kept so, because scores are compared across programs.
PUNCTUATION = frozenset(
    (
        "''",
        "'",
        "``",
        "`",
        "-LRB-",
        "-RRB-",
        "-LCB-",
        "-RCB-",
        ".",
        "?",
        "!",
        ",",
        ":",
        "-",
        "--",
        "...",
        ";",
    )
)


# --- tokens ---------------------------------------------------------------------------------------

_QUOTES = {0x2018: "'", 0x2019: "'", 0x201C: '"', 0x201D: '"'}
BRACKETS = {"(": "-lrb-", ")": "-rrb-", "[": "-lsb-", "]": "-rsb-", "{": "-lcb-", "}": "-rcb-"}
_CONTRACTIONS = {
    "cannot": "can not",
    "gonna": "gon na",
    "gotta": "got ta",
    "wanna": "wan na",
    "gimme": "gim me",
    "lemme": "lem me",
}
# Abbreviations that keep their full stop.
_ABBREVIATIONS = (
    r"(?:mr|mrs|ms|dr|prof|st|ave|blvd|rd|jr|sr|vs|etc|inc|ltd|co|corp|dept|mt|ft|lt|col|gen|capt|sgt|rev|no"
    r"|u\.s|u\.k|a\.m|p\.m|d\.c|e\.g|i\.e)\."
)
_CLITIC = r"'(?:[snmd]|ll|re|ve)(?!\w)"
_INNER = (  # what goes on a word: hyphens, slashes, o'clock
    rf"\w|[-/](?=\w)|\.(?=[a-z0-9])|(?!{_CLITIC})'(?=\w)"
)
_TOKEN = re.compile(
    rf"""
      {_ABBREVIATIONS}(?!\w)
    | (?:[a-z]\.){{2,}}                                            # u.s.a.
    | (?<![\w'])[b-hj-z]\.                                         # an initial
    | \d+(?:[.,:/]\d+)+(?=[ap]m\b)                                 # 5:54pm is two tokens
    | \d+(?:[.,:/]\d+)*(?:st|nd|rd|th|s)?(?!\w|-\w)                # 1,000  1:20  1/2  80s
    | 'n'(?!\w) | {_CLITIC} | n't(?!\w)
    | \w(?:{_INNER})*?(?=n't(?!\w))                                # the word before n't
    | \w(?:{_INNER})*
    | \.{{2,}} | -{{2,}} | [!?]{{2,}} | \S
    """,
    re.VERBOSE,
)


def tokenize(text: str) -> list[str]:
    """Lower-case tokens without punctuation, as coco-caption's Java tokeniser leaves them for
    caption-like English.

    Clitics stand apart ("dog 's", "does n't"), hyphenated words stay whole, numbers keep their
    inner signs.
    """
    text = text.translate(_QUOTES).lower()
    found = []
    for token in _TOKEN.findall(text):
        token = BRACKETS.get(token, token)
        if token not in PUNCTUATION and token.strip('."-'):
            found.extend(_CONTRACTIONS.get(token, token).split(" "))
    return found


# --- BLEU -----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class BleuCounts:
    """What corpus BLEU is made of, one row an image; sums over any choice of images give that
    corpus' BLEU.
    """

    matches: np.ndarray  # (images, 4) clipped n-gram matches
    totals: np.ndarray  # (images, 4) n-grams in the predictions
    lengths: np.ndarray  # (images, 2) tokens of the prediction, of the closest reference


def bleu_counts(
    predictions: Sequence[Tokens], references: Sequence[Sequence[Tokens]]
) -> BleuCounts:
    """Clipped matches (clip: the most in any one reference) and lengths (closest reference; the
    shorter where two are equally close).
    """
    flat, image = _flat(references)
    index = NgramIndex(flat)
    matches = []
    for ours, theirs in index.count(predictions, flat):
        row, other = matched(ours, theirs, image)
        most = np.zeros(len(ours.count), dtype=np.int64)
        np.maximum.at(most, row, theirs.count[other])
        matches.append(
            np.bincount(ours.caption, np.minimum(ours.count, most), minlength=len(predictions))
        )
    size = np.array([len(prediction) for prediction in predictions])
    closest = [
        min((abs(len(tokens) - own), len(tokens)) for tokens in group)[1]
        for own, group in zip(size, references, strict=True)
    ]
    totals = np.maximum(size[:, None] - np.arange(ORDERS), 0)  # (images, 4)
    return BleuCounts(
        np.stack(matches, axis=1).astype(np.int64),
        totals,
        np.stack([size, np.array(closest)], axis=1),
    )


def bleu(counts: BleuCounts, images: np.ndarray | None = None) -> np.ndarray:
    """Corpus BLEU-1..4 (Papineni et al. 2002), with coco-caption's tiny terms instead of smoothing.

    Args:
        images: row indices of the corpus, repeats allowed; None takes all.
    Returns: (4,)
    """
    rows = slice(None) if images is None else images
    matches, totals = counts.matches[rows].sum(axis=0), counts.totals[rows].sum(axis=0)
    length, closest = counts.lengths[rows].sum(axis=0)
    precisions = (matches + 1e-15) / (totals + 1e-9)
    ratio = (length + 1e-15) / (closest + 1e-9)
    brevity = math.exp(1 - 1 / ratio) if ratio < 1 else 1.0
    return np.cumprod(precisions) ** (1 / np.arange(1, ORDERS + 1)) * brevity


def nltk_bleu(
    predictions: Sequence[Tokens], references: Sequence[Sequence[Tokens]]
) -> dict[str, float]:
    """Corpus BLEU-1..4 by nltk's `corpus_bleu`, without smoothing.

    It differs where a prediction has fewer than n tokens: nltk counts one n-gram, never matched,
    for it; coco-caption none.
    """
    from nltk.translate.bleu_score import corpus_bleu  # nltk takes a second to import

    weights = [(1 / order,) * order for order in range(1, ORDERS + 1)]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that an order has no match shows in the score
        scores = corpus_bleu(references, predictions, weights=weights)
    return {f"bleu_{order}": float(score) for order, score in enumerate(scores, start=1)}


# --- ROUGE-L --------------------------------------------------------------------------------------


def rouge_l(
    predictions: Sequence[Tokens], references: Sequence[Sequence[Tokens]], *, beta: float = 1.2
) -> np.ndarray:
    """ROUGE-L of each image (Lin 2004), precision and recall maximised over references separately.

    An empty caption counts as one token that matches nothing but another empty caption, as in
    coco-caption.
    Returns: (images,)
    """
    scores = np.zeros(len(predictions))
    for row, (prediction, group) in enumerate(zip(predictions, references, strict=True)):
        prediction = prediction or [""]
        common = [
            (longest_common_subsequence(prediction, reference or [""]), len(reference) or 1)
            for reference in group
        ]
        precision = max(length for length, _ in common) / len(prediction)
        recall = max(length / size for length, size in common)
        if precision and recall:
            scores[row] = (1 + beta**2) * precision * recall / (recall + beta**2 * precision)
    return scores


def longest_common_subsequence(first: Tokens, second: Tokens) -> int:
    """Length of the longest common subsequence, by bit-parallel dynamic programming (Hyyrö 2004):
    one big integer is a row of the table.
    """
    places: dict[str, int] = {}
    for index, token in enumerate(first):
        places[token] = places.get(token, 0) | 1 << index
    everything = (1 << len(first)) - 1
    row = everything
    for token in second:
        match = row & places.get(token, 0)
        row = ((row + match) | (row - match)) & everything
    return len(first) - row.bit_count()


# --- CIDEr-D --------------------------------------------------------------------------------------


class CiderD:
    """CIDEr-D (Vedantam et al. 2015, section 3 and its "-D" variant) with document frequencies from
    a set of references.

    Args:
        references: tokenised references, one group an image; coco-caption takes those of the images
            evaluated.
        sigma: width of the Gaussian penalty on the difference in length.

    Raises: ValueError for fewer than two images, where every idf is zero and so is every score.
    """

    def __init__(self, references: Sequence[Sequence[Tokens]], *, sigma: float = 6.0) -> None:
        images = len(references)
        if images < 2:
            raise ValueError(
                f"CIDEr needs the references of at least two images, not {images}: with one, every"
                " weight is log 1 = 0"
            )
        self._sigma = sigma
        flat, image = _flat(references)
        self._index = NgramIndex(flat)
        self._idf: list[
            np.ndarray
        ] = []  # of the known n-grams of each order, and at the end of all others
        for (counts,), size in zip(self._index.count(flat), self._index.sizes, strict=True):
            documents = np.bincount(
                count_pairs(image[counts.caption], counts.ngram).ngram, minlength=size
            )
            self._idf.append(math.log(images) - np.log(np.append(documents, 1)))

    def scores(
        self, predictions: Sequence[Tokens], references: Sequence[Sequence[Tokens]]
    ) -> np.ndarray:
        """CIDEr-D of each image against its references, 0 to 10 (images,)."""
        flat, image = _flat(references)
        cosine = np.zeros(len(flat))  # summed over orders
        for (ours, theirs), idf in zip(
            self._index.count(predictions, flat), self._idf, strict=True
        ):
            weight, norm = _weights(ours, idf, len(predictions))
            other, other_norm = _weights(theirs, idf, len(flat))
            row, column = matched(ours, theirs, image)
            dot = np.bincount(
                theirs.caption[column],
                np.minimum(weight[row], other[column]) * other[column],
                minlength=len(flat),
            )
            norms = norm[image] * other_norm
            cosine += np.divide(dot, norms, out=np.zeros(len(flat)), where=norms > 0)
        bigrams, other_bigrams = (
            np.array([max(len(tokens) - 1, 0) for tokens in captions])
            for captions in (predictions, flat)
        )
        close = np.exp(
            -((bigrams[image] - other_bigrams) ** 2) / (2 * self._sigma**2)
        )  # in bigrams, as coco-caption counts lengths
        return (
            10
            / ORDERS
            * np.bincount(image, cosine * close, minlength=len(predictions))
            / np.bincount(image, minlength=len(predictions))
        )


def _weights(counts: NgramCounts, idf: np.ndarray, captions: int) -> tuple[np.ndarray, np.ndarray]:
    """The tf-idf weight of each row (rows,) and the length of each caption's vector (captions,)."""
    weight = counts.count * idf[np.minimum(counts.ngram, len(idf) - 1)]
    return weight, np.sqrt(np.bincount(counts.caption, weight**2, minlength=captions))


def _flat(references: Sequence[Sequence[Tokens]]) -> tuple[list[Tokens], np.ndarray]:
    """All references one after the other, and the index of the image of each."""
    return list(chain.from_iterable(references)), np.repeat(
        np.arange(len(references)), [len(group) for group in references]
    )


# --- all of them ----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Scores:
    """Scores of a set of captions, with what a reader needs to judge them."""

    images: int
    values: dict[str, float]  # metric -> score as a fraction; CIDEr-D 0..10
    intervals: dict[
        str, tuple[float, float]
    ]  # 95 % bootstrap over images; empty when not asked for
    matches: list[int]  # clipped n-gram matches, n = 1..4
    totals: list[int]  # n-grams in the predictions, n = 1..4
    prediction_length: int  # tokens
    reference_length: int  # tokens of the closest references
    per_image: dict[str, np.ndarray]  # ROUGE-L and CIDEr-D of each image, in the order given
    drawn: dict[
        str, np.ndarray
    ]  # the bootstrap's scores (resamples,), of which the intervals are percentiles

    @property
    def length_ratio(self) -> float:
        """Tokens of the predictions to those of the closest references."""
        return self.prediction_length / max(self.reference_length, 1)


def score_captions(
    predictions: Mapping[str, str] | Sequence[Tokens],
    references: Mapping[str, Sequence[str]] | Sequence[Sequence[Tokens]],
    *,
    bootstrap: int = 0,
    seed: int = 0,
    more: Mapping[str, Callable[[np.ndarray], float]] | None = None,
) -> Scores:
    """Score captions against references.

    Args:
        predictions, references: by image, as text (tokenised here), or token lists in the same
            order.
        bootstrap: resamples of the images for the intervals, 0 for none; 1000 is usual.
        more: other metrics, each of which takes indices of images, repeats among them, and gives
            their score as a corpus.

    Raises: ValueError for fewer than two images, a prediction without references or the reverse.
    """
    if isinstance(predictions, Mapping) and isinstance(references, Mapping):
        if predictions.keys() != references.keys():
            raise ValueError("predictions and references are not of the same images")
        keys = list(predictions)
        predictions, references = (
            [tokenize(predictions[key]) for key in keys],
            [[tokenize(text) for text in references[key]] for key in keys],
        )
    assert not isinstance(predictions, Mapping) and not isinstance(references, Mapping)
    if len(predictions) != len(references) or not all(references):
        raise ValueError(
            "predictions and references are not of the same images: each image needs a caption and"
            " at least one reference"
        )
    cider = CiderD(references).scores(predictions, references)
    rouge = rouge_l(predictions, references)
    counts = bleu_counts(predictions, references)

    def values(images: np.ndarray) -> dict[str, float]:
        named = {
            f"bleu_{order + 1}": float(value) for order, value in enumerate(bleu(counts, images))
        }
        named |= {"rouge_l": float(rouge[images].mean()), "cider_d": float(cider[images].mean())}
        return named | {name: score(images) for name, score in (more or {}).items()}

    drawn = resample(values, len(predictions), bootstrap, seed)
    return Scores(
        images=len(predictions),
        values=values(np.arange(len(predictions))),
        intervals={name: interval(scores) for name, scores in drawn.items()},
        matches=counts.matches.sum(axis=0).tolist(),
        totals=counts.totals.sum(axis=0).tolist(),
        prediction_length=int(counts.lengths[:, 0].sum()),
        reference_length=int(counts.lengths[:, 1].sum()),
        per_image={"rouge_l": rouge, "cider_d": cider},
        drawn=drawn,
    )
