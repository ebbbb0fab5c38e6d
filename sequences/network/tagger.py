"""Many to many, aligned: a recurrent network reads a sentence, each state gives a word's tag."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn
from torch.nn import functional as F

from rnnkit.layers import Stack, drop_units
from sequences.network import crf
from sequences.network.architecture import SentenceArchitecture, SentenceDropout
from sequences.network.words import WordEncoder
from sequences.words import Sentences, WordVocabulary


class TaggerNetwork(nn.Module):
    """Words, recurrent layers, and a softmax for each word or a CRF over the sentence.

    The second is the BiLSTM-CRF of Huang et al. 2015 and Lample et al. 2016. With both, the tags
    are the best sequence in which entities begin as they must.

    Args:
        missed_entity_cost: see `loss`.
    """

    def __init__(
        self,
        vocabulary: WordVocabulary,
        tags: Sequence[str],
        architecture: SentenceArchitecture,
        dropout: SentenceDropout | None = None,
        *,
        missed_entity_cost: float = 0.0,
    ) -> None:
        super().__init__()
        a, self.dropout = architecture, dropout or SentenceDropout()
        self.missed_entity_cost = missed_entity_cost
        self.outside = tags.index("O") if crf.is_bio(tags) else None
        self.words = WordEncoder(vocabulary, a, self.dropout)
        self.layers = Stack(
            a.cell,
            self.words.output_size,
            a.hidden_size,
            a.num_layers,
            bidirectional=a.bidirectional,
            dilations=a.dilations,
            dropout=self.dropout.hidden,
        )
        self.output = nn.Linear(self.layers.output_size, len(tags))
        self.transitions = (
            nn.Parameter(torch.zeros(len(tags), len(tags))) if a.output == "crf" else None
        )
        between, start = crf.bio_rules(tags)
        self.register_buffer("between", between, persistent=False)
        self.register_buffer("start", start, persistent=False)
        self.between: torch.Tensor
        self.start: torch.Tensor

    def forward(self, sentences: Sentences) -> torch.Tensor:
        """Emissions (T, B, tags): logits of a softmax, or scores of the CRF."""
        y = self.layers(self.words(sentences), sentences.lengths)  # (T, B, H)
        if self.training:
            y = drop_units(y, self.dropout.output)
        emissions: torch.Tensor = self.output(y)
        return emissions

    def loss(self, sentences: Sentences, tags: torch.Tensor) -> torch.Tensor:
        """Mean negative log-probability a word.

        Most words are in no entity, so a network that is not sure leaves entities out. Against
        this, O scores `missed_entity_cost` more where it is wrong, and an entity must win by as
        much (softmax-margin, Gimpel and Smith 2010; for recall, Mohit et al. 2012).

        Args:
            tags: (T, B).
        """
        emissions, mask = self(sentences), sentences.mask
        if self.outside is not None and self.missed_entity_cost:
            cost = torch.zeros_like(emissions)
            cost[:, :, self.outside] = self.missed_entity_cost * (tags != self.outside)
            emissions = emissions + cost
        if self.transitions is None:
            return F.cross_entropy(emissions[mask], tags[mask])
        chosen = crf.sequence_score(emissions, self.transitions, tags, mask)
        total = crf.log_partition(emissions, self.transitions, mask)
        return (total - chosen).sum() / sentences.lengths.sum()

    def decode(self, sentences: Sentences) -> tuple[torch.Tensor, torch.Tensor]:
        """The best tags, (T, B), and the probability of each tag of each word, (T, B, tags)."""
        emissions, mask = self(sentences), sentences.mask
        if self.transitions is None:
            probabilities = emissions.softmax(-1)
            if not self.between.any():
                return emissions.argmax(-1), probabilities
            scores, transitions = emissions.log_softmax(-1), self.between
        else:
            probabilities = crf.marginals(emissions, self.transitions, mask)
            scores, transitions = emissions, self.transitions + self.between
        return crf.viterbi(scores, transitions, mask, self.start), probabilities
