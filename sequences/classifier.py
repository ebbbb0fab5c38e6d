"""Classifier: a sentence in, a label and its probability out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch.nn import functional as F

from rnnkit.errors import UserError
from sequences.data import Labelled
from sequences.evidence import Evidence
from sequences.model import Model, in_batches
from sequences.network.architecture import SentenceArchitecture, SentenceDropout
from sequences.network.classifier import ClassifierNetwork
from sequences.words import WordVocabulary, split_words

BATCH = 64  # sentences at once where nothing is learned
MAX_WORDS = 2000


class Classification(NamedTuple):
    """What a classifier says of a text."""

    label: str  # the likeliest
    probability: float
    probabilities: dict[str, float]  # of all labels


class Classifier(Model[Labelled]):
    """A recurrent network from a sentence to a label.

    Attributes:
        labels: in the order of the network's outputs.
        evidence: ratios of words and labels that the network reads, or None.
    """

    task, criterion = "classify", "accuracy"

    def __init__(
        self,
        network: ClassifierNetwork,
        vocabulary: WordVocabulary,
        architecture: SentenceArchitecture,
        labels: Sequence[str],
        evidence: Evidence | None = None,
        info: Mapping[str, Any] | None = None,
    ) -> None:
        self.network: ClassifierNetwork = network.eval()
        self.vocabulary, self.architecture = vocabulary, architecture
        self.labels, self.evidence = tuple(labels), evidence
        self.info = dict(info or {})
        self._label_ids = {label: index for index, label in enumerate(self.labels)}
        self._training_evidence: list[torch.Tensor] = []

    def classify(self, text: str) -> Classification:
        """The label of a text.

        Raises: UserError for a text without words or with too many.
        """
        return self.classify_batch([text])[0]

    def classify_batch(self, texts: Sequence[str]) -> list[Classification]:
        """`classify` for several texts at once."""
        rows = self.probabilities([words_of(text) for text in texts]).tolist()
        found = []
        for row in rows:
            named = dict(zip(self.labels, row, strict=True))
            label = max(named, key=lambda name: named[name])
            found.append(Classification(label, named[label], named))
        return found

    def as_read(self, text: str) -> list[tuple[str, dict[str, float]]]:
        """How the answer grows: each word, and the probabilities if the text ended after it."""
        words = words_of(text)
        rows = self.probabilities([words[: count + 1] for count in range(len(words))]).tolist()
        return [
            (word, dict(zip(self.labels, row, strict=True)))
            for word, row in zip(words, rows, strict=True)
        ]

    def effects(self, text: str, label: str) -> list[tuple[str, float]]:
        """What each word adds to a label's probability: how much is lost if it is left out.

        Without its only word, a text has each label with the same probability.
        """
        words, column = words_of(text), self._label_ids[label]
        if len(words) == 1:
            share = 1 / len(self.labels)
            return [(words[0], float(self.probabilities([words])[0, column]) - share)]
        shortened = [[*words[:index], *words[index + 1 :]] for index in range(len(words))]
        whole, *others = self.probabilities([words, *shortened])[:, column].tolist()
        return [(word, whole - other) for word, other in zip(words, others, strict=True)]

    @torch.inference_mode()
    def probabilities(self, sentences: Sequence[Sequence[str]]) -> torch.Tensor:
        """Probabilities of the labels, (sentences, labels), of sentences as words."""
        rows = torch.zeros(len(sentences), len(self.labels))
        self.network.eval()
        for indices in in_batches([len(sentence) for sentence in sentences], BATCH):
            batch = [sentences[index] for index in indices]
            evidence = self.evidence.of_sentences(batch) if self.evidence else None
            rows[indices] = self._logits(batch, evidence).float().softmax(-1).cpu()
        return rows

    def _logits(
        self, sentences: Sequence[Sequence[str]], evidence: torch.Tensor | None
    ) -> torch.Tensor:
        logits: torch.Tensor = self.network(
            self.vocabulary.encode(sentences).to(self.device),
            None if evidence is None else evidence.to(self.device),
        )
        return logits

    # --- training ---------------------------------------------------------------------------------

    def begin_epoch(self, examples: Sequence[Labelled], seed: int) -> None:
        if self.evidence:
            self._training_evidence = self.evidence.without_their_parts(
                [split_words(example.text) for example in examples],
                [self._label_ids[example.label] for example in examples],
                seed,
            )

    def loss(self, examples: Sequence[Labelled], indices: Sequence[int]) -> torch.Tensor:
        sentences = [split_words(examples[index].text) for index in indices]
        targets = torch.tensor([self._label_ids[examples[index].label] for index in indices])
        evidence = None
        if self.evidence:
            longest = max(map(len, sentences))
            evidence = torch.cat(
                [
                    F.pad(rows, (0, 0, 0, 0, 0, longest - len(rows)))
                    for rows in (self._training_evidence[index] for index in indices)
                ],
                dim=1,
            )  # (T, B, 2 * labels)
        return F.cross_entropy(self._logits(sentences, evidence), targets.to(self.device))

    def size(self, example: Labelled) -> int:
        return len(split_words(example.text))

    def scores(self, examples: Sequence[Labelled]) -> dict[str, float]:
        right = [
            found.label == example.label
            for found, example in zip(
                self.classify_batch([example.text for example in examples]), examples, strict=True
            )
        ]
        return {"accuracy": sum(right) / len(right)}

    # --- the checkpoint ---------------------------------------------------------------------------

    @classmethod
    def own_entries(cls) -> tuple[str, ...]:
        return ("labels", "evidence")

    def own_config(self) -> dict[str, Any]:
        return {"labels": self.labels, "evidence": self.evidence is not None}

    def own_tensors(self) -> dict[str, torch.Tensor]:
        tensors = self.evidence.tensors() if self.evidence else {}
        return {f"evidence.{name}": tensor for name, tensor in tensors.items()}

    @classmethod
    def rebuild(
        cls,
        vocabulary: WordVocabulary,
        architecture: SentenceArchitecture,
        own: Mapping[str, Any],
        tensors: Mapping[str, torch.Tensor],
    ) -> Classifier:
        evidence = None
        if own["evidence"]:
            stored = {name: tensors[f"evidence.{name}"] for name in ("pairs", "counts", "totals")}
            evidence = Evidence.from_tensors(vocabulary, stored)
        network = ClassifierNetwork(
            vocabulary, len(own["labels"]), architecture, evidence=bool(evidence)
        )
        return cls(network, vocabulary, architecture, own["labels"], evidence)

    @classmethod
    def new(
        cls,
        examples: Sequence[Labelled],
        architecture: SentenceArchitecture,
        dropout: SentenceDropout,
        *,
        min_count: int,
        evidence: bool,
        known: WordVocabulary | None = None,
    ) -> Classifier:
        """An untrained model for some examples. known: a vocabulary to be kept and added to.

        Raises: UserError if there are fewer than two labels.
        """
        labels = sorted({example.label for example in examples})
        if len(labels) < 2:
            raise UserError(f"all examples have the label '{labels[0]}': there is nothing to learn")
        sentences = [split_words(example.text) for example in examples]
        vocabulary = WordVocabulary.of(sentences, min_count=min_count, cased=False, known=known)
        ratios = (
            Evidence.of(
                vocabulary,
                sentences,
                [labels.index(example.label) for example in examples],
                len(labels),
            )
            if evidence
            else None
        )
        network = ClassifierNetwork(
            vocabulary, len(labels), architecture, dropout, evidence=evidence
        )
        return cls(network, vocabulary, architecture, labels, ratios)


def words_of(text: str) -> list[str]:
    """The words of a text. Raises: UserError if it has none, or more than MAX_WORDS."""
    words = split_words(text)
    if not words:
        raise UserError("the text has no words")
    if len(words) > MAX_WORDS:
        raise UserError(f"a text may have {MAX_WORDS:,} words, not {len(words):,}")
    return words
