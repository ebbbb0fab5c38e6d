"""Tagger: a sentence in, a tag for each word out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import torch

from sequences.classifier import BATCH, words_of
from sequences.data import Tagged
from sequences.evaluation.entities import entity_scores
from sequences.model import Model, in_batches
from sequences.network.architecture import SentenceArchitecture, SentenceDropout
from sequences.network.crf import is_bio
from sequences.network.tagger import TaggerNetwork
from sequences.words import SPECIAL, WordVocabulary


class TaggedWord(NamedTuple):
    """A word with its tag."""

    word: str
    tag: str
    probability: float
    probabilities: dict[str, float]  # of all tags


class Tagger(Model[Tagged]):
    """A recurrent network from a sentence to a tag for each word.

    Attributes:
        tags: in the order of the network's outputs.
        usual: for each word of the vocabulary the place of its most frequent tag in `tags`, and
            last that of all words together.
    """

    task, criterion = "tag", "accuracy"

    def __init__(
        self,
        network: TaggerNetwork,
        vocabulary: WordVocabulary,
        architecture: SentenceArchitecture,
        tags: Sequence[str],
        usual: Sequence[int],
        info: Mapping[str, Any] | None = None,
    ) -> None:
        self.network: TaggerNetwork = network.eval()
        self.vocabulary, self.architecture = vocabulary, architecture
        self.tags, self.info = tuple(tags), dict(info or {})
        self.usual = tuple(usual)
        if is_bio(self.tags):
            self.criterion = "entity_f1"  # type: ignore[misc]  # almost every word is in no entity
        self._tag_ids = {tag: index for index, tag in enumerate(self.tags)}

    def tag(self, text: str | Sequence[str]) -> list[TaggedWord]:
        """The words of a sentence with their tags.

        Args:
            text: a sentence, or its words.

        Raises: UserError for a text without words or with too many.
        """
        return self.tag_batch([text])[0]

    @torch.no_grad()  # the CRF's probabilities are gradients, which inference mode rules out
    def tag_batch(self, texts: Sequence[str | Sequence[str]]) -> list[list[TaggedWord]]:
        """`tag` for several sentences at once."""
        sentences = [words_of(text) if isinstance(text, str) else list(text) for text in texts]
        found: list[list[TaggedWord]] = [[] for _ in sentences]
        self.network.eval()
        for places in in_batches([len(sentence) for sentence in sentences], BATCH):
            batch = self.vocabulary.encode([sentences[place] for place in places]).to(self.device)
            tags, probabilities = self.network.decode(batch)
            for column, place in enumerate(places):
                words = sentences[place]
                rows = probabilities[: len(words), column].tolist()
                ids = tags[: len(words), column].tolist()
                found[place] = [
                    TaggedWord(
                        word, self.tags[index], row[index], dict(zip(self.tags, row, strict=True))
                    )
                    for word, index, row in zip(words, ids, rows, strict=True)
                ]
        return found

    def usual_tag(self, word: str) -> str:
        """The most frequent tag of a word in the training data, whatever its neighbours."""
        place = self.vocabulary.word_id(word) - len(SPECIAL)
        return self.tags[self.usual[place if place >= 0 else -1]]

    # --- training ---------------------------------------------------------------------------------

    def loss(self, examples: Sequence[Tagged], places: Sequence[int]) -> torch.Tensor:
        batch = self.vocabulary.encode([examples[place].words for place in places])
        tags = torch.zeros_like(batch.words)
        for column, place in enumerate(places):
            own = [self._tag_ids[tag] for tag in examples[place].tags]
            tags[: len(own), column] = torch.tensor(own)
        return self.network.loss(batch.to(self.device), tags.to(self.device))

    def size(self, example: Tagged) -> int:
        return len(example.words)

    def scores(self, examples: Sequence[Tagged]) -> dict[str, float]:
        found = self.tag_batch([example.words for example in examples])
        return tag_scores([[word.tag for word in row] for row in found], examples)

    # --- the checkpoint ---------------------------------------------------------------------------

    @classmethod
    def own_entries(cls) -> tuple[str, ...]:
        return ("tags", "usual_tags")

    def own_config(self) -> dict[str, Any]:
        return {"tags": self.tags, "usual_tags": self.usual}

    @classmethod
    def rebuild(
        cls,
        vocabulary: WordVocabulary,
        architecture: SentenceArchitecture,
        own: Mapping[str, Any],
        tensors: Mapping[str, torch.Tensor],
    ) -> Tagger:
        network = TaggerNetwork(vocabulary, own["tags"], architecture)
        return cls(network, vocabulary, architecture, own["tags"], own["usual_tags"])

    @classmethod
    def new(
        cls,
        examples: Sequence[Tagged],
        architecture: SentenceArchitecture,
        dropout: SentenceDropout,
        *,
        min_count: int,
        missed_entity_cost: float = 0.0,
        known: WordVocabulary | None = None,
    ) -> Tagger:
        """An untrained model for some examples.

        Args:
            missed_entity_cost: see `TaggerNetwork.loss`.
            known: a vocabulary to be kept and added to.
        """
        tags = sorted({tag for example in examples for tag in example.tags})
        vocabulary = WordVocabulary.of(
            (example.words for example in examples), min_count=min_count, cased=True, known=known
        )
        network = TaggerNetwork(
            vocabulary, tags, architecture, dropout, missed_entity_cost=missed_entity_cost
        )
        return cls(network, vocabulary, architecture, tags, _usual_tags(examples, vocabulary, tags))


def _usual_tags(
    examples: Sequence[Tagged], vocabulary: WordVocabulary, tags: Sequence[str]
) -> list[int]:
    """See `Tagger.usual`."""
    of_word: dict[int, Counter[str]] = {}
    overall: Counter[str] = Counter()
    for example in examples:
        for word, tag in zip(example.words, example.tags, strict=True):
            of_word.setdefault(vocabulary.word_id(word), Counter())[tag] += 1
            overall[tag] += 1
    ids = range(len(SPECIAL), vocabulary.num_words)
    commonest = [of_word.get(index, overall).most_common(1)[0][0] for index in ids]
    return [tags.index(tag) for tag in [*commonest, overall.most_common(1)[0][0]]]


def tag_scores(found: Sequence[Sequence[str]], examples: Sequence[Tagged]) -> dict[str, float]:
    """The share of words with the right tag and, for tags of entities, F1 of whole ones."""
    pairs = [
        (ours, theirs)
        for row, example in zip(found, examples, strict=True)
        for ours, theirs in zip(row, example.tags, strict=True)
    ]
    scores = {"accuracy": sum(ours == theirs for ours, theirs in pairs) / len(pairs)}
    if is_bio(sorted({tag for example in examples for tag in example.tags})):
        scores["entity_f1"] = entity_scores(found, [example.tags for example in examples]).f1
    return scores
