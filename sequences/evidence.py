"""What each word and word pair tells of the label by how often they went together: naive Bayes's
log-count ratios (Wang and Manning 2012), which a classifier reads beside the words.

A ratio that counts the very sentence it is asked about gives its label away. So while training, the
sentences are dealt into parts anew in each epoch, and each part gets its ratios from the others.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from sequences.words import SPECIAL, WordVocabulary

PARTS = 5
SMOOTHING = 1.0  # added to every count


class Evidence:
    """Log-count ratios of a vocabulary's words and of pairs of them.

    Attributes:
        pairs: (P,) two words as one number, sorted.
        counts: (V + P + 1, labels) sentences of each label that have a word or a pair; the last
            row, always 0, is that of pairs that are not known.
        totals: (labels,) sentences of each label.
    """

    def __init__(
        self, vocabulary: WordVocabulary, pairs: np.ndarray, counts: np.ndarray, totals: np.ndarray
    ) -> None:
        self.vocabulary, self.pairs, self.counts, self.totals = vocabulary, pairs, counts, totals
        self.ratios = self._ratios(counts, totals)

    @classmethod
    def of(
        cls,
        vocabulary: WordVocabulary,
        sentences: Sequence[Sequence[str]],
        labels: Sequence[int],
        num_labels: int,
        *,
        min_count: int = 2,
    ) -> Evidence:
        """Counts of some labelled sentences. min_count: rarer pairs are left out."""
        ids = [_word_ids(vocabulary, sentence) for sentence in sentences]
        found, times = np.unique(
            np.concatenate([np.unique(_pairs(vocabulary, row)) for row in ids]), return_counts=True
        )
        pairs = found[(times >= min_count) & (found >= 0)]
        rows = vocabulary.num_words + len(pairs) + 1
        evidence = cls(vocabulary, pairs, np.zeros((rows, num_labels)), np.zeros(num_labels))
        evidence._count(sentences, labels)
        return evidence

    def of_sentences(self, sentences: Sequence[Sequence[str]]) -> torch.Tensor:
        """The ratios of each word and of its pair with the word before.

        Returns: (T, B, 2 * labels), 0 after a sentence's end.
        """
        return self._arranged(sentences, [self.ratios] * len(sentences))

    def without_their_parts(
        self, sentences: Sequence[Sequence[str]], labels: Sequence[int], seed: int
    ) -> list[torch.Tensor]:
        """For each of the sentences that were counted, (T, 1, 2 * labels): ratios from other parts.

        Args:
            labels: of the sentences.
            seed: deals them into parts.
        """
        part_of = np.random.default_rng(seed).integers(0, PARTS, len(sentences))
        ratios = []
        for part in range(PARTS):
            own = np.flatnonzero(part_of == part).tolist()
            counts, totals = np.zeros_like(self.counts), np.zeros_like(self.totals)
            self._add([sentences[i] for i in own], [labels[i] for i in own], counts, totals)
            ratios.append(self._ratios(self.counts - counts, self.totals - totals))
        return [
            self._arranged([sentence], [ratios[part]])
            for sentence, part in zip(sentences, part_of, strict=True)
        ]

    def naive_bayes(self, sentences: Sequence[Sequence[str]]) -> np.ndarray:
        """The label, (sentences,), that naive Bayes gives on the words and pairs of each."""
        prior = np.log(self.totals / self.totals.sum())
        return np.array(
            [
                (
                    self.ratios[np.unique(np.concatenate(self._rows(sentence)))].sum(0) + prior
                ).argmax()
                for sentence in sentences
            ]
        )

    def tensors(self) -> dict[str, torch.Tensor]:
        """What a checkpoint keeps."""
        return {
            "pairs": torch.from_numpy(self.pairs),
            "counts": torch.from_numpy(self.counts).to(torch.int32),
            "totals": torch.from_numpy(self.totals).to(torch.int32),
        }

    @classmethod
    def from_tensors(cls, vocabulary: WordVocabulary, tensors: dict[str, torch.Tensor]) -> Evidence:
        """What `tensors` took out."""
        return cls(
            vocabulary,
            tensors["pairs"].numpy(),
            tensors["counts"].double().numpy(),
            tensors["totals"].double().numpy(),
        )

    def _count(self, sentences: Sequence[Sequence[str]], labels: Sequence[int]) -> None:
        self._add(sentences, labels, self.counts, self.totals)
        self.ratios = self._ratios(self.counts, self.totals)

    def _add(
        self,
        sentences: Sequence[Sequence[str]],
        labels: Sequence[int],
        counts: np.ndarray,
        totals: np.ndarray,
    ) -> None:
        for sentence, label in zip(sentences, labels, strict=True):
            counts[np.unique(np.concatenate(self._rows(sentence))), label] += 1
            totals[label] += 1
        counts[-1] = 0

    def _ratios(self, counts: np.ndarray, totals: np.ndarray) -> np.ndarray:
        """log p(word | label), less its mean over the labels, (rows, labels)."""
        logs = np.log(counts + SMOOTHING) - np.log(totals + SMOOTHING * len(totals))
        ratios: np.ndarray = logs - logs.mean(1, keepdims=True)
        ratios[: len(SPECIAL)] = ratios[-1] = 0
        return ratios

    def _rows(self, sentence: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
        """The rows of a sentence's words and pairs, (T,) each."""
        ids = _word_ids(self.vocabulary, sentence)
        pairs = _pairs(self.vocabulary, ids)
        if not len(self.pairs):
            return ids, np.full(len(ids), len(self.counts) - 1)
        rows = np.minimum(np.searchsorted(self.pairs, pairs), len(self.pairs) - 1)
        known = self.pairs[rows] == pairs
        return ids, np.where(known, rows + self.vocabulary.num_words, len(self.counts) - 1)

    def _arranged(
        self, sentences: Sequence[Sequence[str]], ratios: Sequence[np.ndarray]
    ) -> torch.Tensor:
        longest = max(map(len, sentences))
        arranged = np.zeros((longest, len(sentences), 2 * len(self.totals)), dtype=np.float32)
        for column, (sentence, table) in enumerate(zip(sentences, ratios, strict=True)):
            words, pairs = self._rows(sentence)
            arranged[: len(sentence), column] = np.hstack([table[words], table[pairs]])
        return torch.from_numpy(arranged)


def _word_ids(vocabulary: WordVocabulary, sentence: Sequence[str]) -> np.ndarray:
    return np.array([vocabulary.word_id(word) for word in sentence], dtype=np.int64)


def _pairs(vocabulary: WordVocabulary, ids: np.ndarray) -> np.ndarray:
    """Each word's pair with the one before as a number; -1 if either has no id or is not there."""
    before = np.concatenate([[-1], ids[:-1]])
    known = (before >= len(SPECIAL)) & (ids >= len(SPECIAL))
    return np.where(known, before * vocabulary.num_words + ids, -1)
