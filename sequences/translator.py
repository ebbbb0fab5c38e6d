"""Translator: a sentence in, the same sentence in another language out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from rnnkit.beam_search import Hypothesis, beam_search
from rnnkit.errors import UserError
from rnnkit.metrics.bleu import bleu, bleu_counts
from rnnkit.metrics.tokenizer import tokenize
from sequences.classifier import words_of
from sequences.data import Pair
from sequences.model import Model, in_batches
from sequences.network.architecture import SentenceArchitecture, SentenceDropout
from sequences.network.translator import EncodedText, TranslatorNetwork
from sequences.words import PAD, UNKNOWN, WordVocabulary, join_words, split_words

START, END = 2, 3
TARGET_SPECIAL = 4  # PAD, UNKNOWN, START, END
BATCH = 32
MAX_BEAM = 100
LENGTH_PENALTY = 1.0


class Translation(NamedTuple):
    """A translation.

    Attributes:
        text: as it is written.
        score: natural-log probability a word, by which translations are ranked.
        words: of the translation, followed by the end.
        source: the words that were read.
        attention: for each of `words`, how much of it was taken from each of `source`,
            (words, source); None unless it was asked for.
    """

    text: str
    score: float
    words: tuple[str, ...]
    source: tuple[str, ...]
    attention: np.ndarray | None = None


class Translator(Model[Pair]):
    """A recurrent network from a sentence to its translation.

    Attributes:
        targets: the words that it writes, each in the form that it has inside a sentence.
        loss_smoothing: share of a target spread over all words while training.
    """

    task, criterion = "translate", "bleu_4"

    def __init__(
        self,
        network: TranslatorNetwork,
        vocabulary: WordVocabulary,
        architecture: SentenceArchitecture,
        targets: Sequence[str],
        info: Mapping[str, Any] | None = None,
    ) -> None:
        self.network: TranslatorNetwork = network.eval()
        self.vocabulary, self.architecture = vocabulary, architecture
        self.targets, self.info = tuple(targets), dict(info or {})
        self.loss_smoothing = 0.0
        self._ids = {word.lower(): index for index, word in enumerate(targets, TARGET_SPECIAL)}

    def translate(self, text: str, *, beam_size: int = 5) -> Translation:
        """The best translation of a sentence.

        Raises: UserError for a text without words or with too many, or a beam out of its range.
        """
        return self.translate_batch([text], beam_size=beam_size)[0]

    def translate_batch(self, texts: Sequence[str], *, beam_size: int = 5) -> list[Translation]:
        """`translate` for several sentences at once."""
        return [group[0] for group in self.candidates(texts, 1, beam_size=beam_size)]

    @torch.inference_mode()
    def candidates(
        self,
        texts: Sequence[str],
        count: int,
        *,
        beam_size: int = 5,
        with_attention: bool = False,
    ) -> list[list[Translation]]:
        """Up to `count` translations of each sentence, best first; arguments as in `translate`."""
        beam = max(beam_size, count)
        if not (1 <= beam <= MAX_BEAM and beam_size >= 1 and count >= 1):
            raise UserError(
                f"beam size and number of translations must be from 1 to {MAX_BEAM}, not"
                f" {beam_size} and {count}"
            )
        sentences = [words_of(text) for text in texts]
        found: list[list[Translation]] = [[] for _ in sentences]
        self.network.eval()
        for indices in in_batches([len(sentence) for sentence in sentences], BATCH):
            groups = self._search([sentences[index] for index in indices], beam)
            for index, group in zip(indices, groups, strict=True):
                found[index] = [
                    self._written(sentences[index], hypothesis, with_attention)
                    for hypothesis in group[:count]
                ]
        return found

    def doubt(self, text: str) -> str:
        """Why a translation of a text is not to be trusted, for people to read; "" for no reason.

        The reason is that the model has learned fewer than half of its words. Punctuation does not
        count, nor do names and numbers inside the sentence, which can be copied. Of the bundled
        model's 351 dev sentences 2 % are doubted, of their English translations 99 %.
        """
        words = split_words(text)
        copied = set(self._to_copy(words)) - {0}  # anything has a capital at the beginning
        counted = [
            word
            for position, word in enumerate(words)
            if position not in copied and any(character.isalpha() for character in word)
        ]
        known = sum(self.vocabulary.word_id(word) != UNKNOWN for word in counted)
        if 2 * known >= len(counted):
            return ""
        data = self.info.get("data")
        language = data.get("language") if isinstance(data, dict) else None
        return (
            f"the translator knows {known or 'none'} of the {len(counted)} words, so this is a"
            f" guess: is the sentence in {language or 'the language that it reads'}?"
        )

    def _search(self, sentences: Sequence[Sequence[str]], beam: int) -> list[list[Hypothesis]]:
        state, memory = self.network.encode(self.vocabulary.encode(sentences).to(self.device))

        def step(words: Tensor, state: Tensor, memory: EncodedText) -> tuple[Tensor, Tensor]:
            read, state, _ = self.network.step(words, state, memory)
            return self.network.logits(read).float().log_softmax(-1), state

        excluded = torch.zeros(len(sentences), self.network.num_targets, dtype=torch.bool)
        excluded[:, UNKNOWN] = torch.tensor([not self._to_copy(each) for each in sentences])
        return beam_search(
            step,
            state,
            memory,
            start=START,
            end=END,
            forbidden=(PAD, START),
            beam_size=beam,
            max_length=2 * max(map(len, sentences)) + 5,
            length_penalty=LENGTH_PENALTY,
            excluded=excluded.to(self.device),
        )

    def _to_copy(self, sentence: Sequence[str]) -> list[int]:
        """The positions of words that may be copied: strange names and numbers."""
        return [
            position
            for position, word in enumerate(sentence)
            if self.vocabulary.word_id(word) == UNKNOWN
            and any(character.isupper() or character.isdigit() for character in word)
        ]

    def _written(
        self, source: Sequence[str], hypothesis: Hypothesis, with_attention: bool
    ) -> Translation:
        grid = None
        ids = hypothesis.ids
        if with_attention or UNKNOWN in ids:
            before = torch.tensor([START, *ids], device=self.device)[:, None]
            batch = self.vocabulary.encode([source]).to(self.device)
            grid = (
                self.network(batch, before)[1][:, 0].detach().float().cpu().numpy()
            )  # (words + 1, T)
        copied = self._to_copy(source)
        words = [
            # A name that the model cannot write is copied, of several the one that it looks at
            # (Luong et al. 2015, Addressing the Rare Word Problem).
            source[max(copied, key=grid[position].__getitem__)]
            if index == UNKNOWN and grid is not None
            else self.targets[index - TARGET_SPECIAL]
            for position, index in enumerate(ids)
        ]
        text = join_words(words)
        return Translation(
            text[:1].upper() + text[1:],
            hypothesis.score,
            (*words, "</s>"),
            tuple(source),
            grid if with_attention else None,
        )

    # --- training ---------------------------------------------------------------------------------

    def loss(self, examples: Sequence[Pair], indices: Sequence[int]) -> torch.Tensor:
        batch = self.vocabulary.encode([split_words(examples[index].source) for index in indices])
        written = [self._target_ids(examples[index].target) for index in indices]
        longest = max(map(len, written)) + 1
        before = torch.full((longest, len(written)), PAD)
        after = torch.full((longest, len(written)), PAD)
        for column, ids in enumerate(written):
            before[: len(ids) + 1, column] = torch.tensor([START, *ids])
            after[: len(ids) + 1, column] = torch.tensor([*ids, END])
        logits, _ = self.network(batch.to(self.device), before.to(self.device))
        return F.cross_entropy(
            logits.flatten(0, 1),
            after.to(self.device).flatten(),
            ignore_index=PAD,
            label_smoothing=self.loss_smoothing if self.network.training else 0.0,
        )

    def _target_ids(self, text: str) -> list[int]:
        return [self._ids.get(word.lower(), UNKNOWN) for word in split_words(text)]

    def size(self, example: Pair) -> int:
        return len(split_words(example.source))

    def scores(self, examples: Sequence[Pair]) -> dict[str, float]:
        found = self.translate_batch([example.source for example in examples], beam_size=1)
        return {
            "bleu_4": corpus_bleu_4(
                [translation.text for translation in found],
                [example.target for example in examples],
            )
        }

    # --- the checkpoint ---------------------------------------------------------------------------

    @classmethod
    def own_entries(cls) -> tuple[str, ...]:
        return ("targets",)

    def own_config(self) -> dict[str, Any]:
        return {"targets": self.targets}

    @classmethod
    def rebuild(
        cls,
        vocabulary: WordVocabulary,
        architecture: SentenceArchitecture,
        own: Mapping[str, Any],
        tensors: Mapping[str, torch.Tensor],
    ) -> Translator:
        network = TranslatorNetwork(vocabulary, len(own["targets"]) + TARGET_SPECIAL, architecture)
        return cls(network, vocabulary, architecture, own["targets"])

    @classmethod
    def new(
        cls,
        examples: Sequence[Pair],
        architecture: SentenceArchitecture,
        dropout: SentenceDropout,
        *,
        min_count: int,
        label_smoothing: float = 0.0,
        known: WordVocabulary | None = None,
    ) -> Translator:
        """An untrained model for some examples. known: a vocabulary to be kept and added to."""
        vocabulary = WordVocabulary.of(
            (split_words(example.source) for example in examples),
            min_count=min_count,
            cased=False,
            known=known,
        )
        targets = written_forms((split_words(example.target) for example in examples), min_count)
        network = TranslatorNetwork(
            vocabulary, len(targets) + TARGET_SPECIAL, architecture, dropout
        )
        translator = cls(network, vocabulary, architecture, targets)
        translator.loss_smoothing = label_smoothing
        return translator


def written_forms(sentences: Iterable[Sequence[str]], min_count: int) -> list[str]:
    """The words of sentences, most frequent first, each as it is mostly written.

    The first word of a sentence has a capital anyway, so it counts little (truecasing; Lita et al.
    2003).

    Args:
        min_count: words seen less often are left out.
    """
    counts: Counter[str] = Counter()
    forms: dict[str, Counter[str]] = {}
    for sentence in sentences:
        for position, word in enumerate(sentence):
            counts[word.lower()] += 1
            form = word.lower() if position == 0 and word[1:].islower() else word
            forms.setdefault(word.lower(), Counter())[form] += 1 if position == 0 else 100
    listed = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    return [forms[word].most_common(1)[0][0] for word, count in listed if count >= min_count]


def corpus_bleu_4(predictions: Sequence[str], references: Sequence[str]) -> float:
    """Corpus BLEU-4 in lower case without punctuation, tokenised by coco-caption's rules."""
    counts = bleu_counts(
        [tokenize(text) for text in predictions], [[tokenize(text)] for text in references]
    )
    return float(bleu(counts)[-1])
