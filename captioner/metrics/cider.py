"""CIDEr-D: tf-idf weighted n-grams that a caption shares with its references."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from rnnkit.metrics.ngrams import (
    ORDERS,
    NgramCounts,
    NgramIndex,
    Tokens,
    count_pairs,
    flatten,
    shared_ngrams,
)


class CiderD:
    """CIDEr-D (Vedantam et al. 2015, section 3), with document frequencies from some references.

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
        flat, image = flatten(references)
        self._index = NgramIndex(flat)
        # For each order: of each known n-gram, and at the end of all others.
        self._idf: list[np.ndarray] = []
        for (counts,), size in zip(self._index.count(flat), self._index.sizes, strict=True):
            documents = np.bincount(
                count_pairs(image[counts.caption], counts.ngram).ngram, minlength=size
            )
            self._idf.append(math.log(images) - np.log(np.append(documents, 1)))

    def scores(
        self, predictions: Sequence[Tokens], references: Sequence[Sequence[Tokens]]
    ) -> np.ndarray:
        """CIDEr-D of each image against its references, 0 to 10 (images,)."""
        flat, image = flatten(references)
        cosine = np.zeros(len(flat))  # summed over orders
        for (ours, theirs), idf in zip(
            self._index.count(predictions, flat), self._idf, strict=True
        ):
            weight, norm = _weights(ours, idf, len(predictions))
            other, other_norm = _weights(theirs, idf, len(flat))
            row, column = shared_ngrams(ours, theirs, image)
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
        # The difference in length is counted in bigrams, as coco-caption does.
        close = np.exp(-((bigrams[image] - other_bigrams) ** 2) / (2 * self._sigma**2))
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
