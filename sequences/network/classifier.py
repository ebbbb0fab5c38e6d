"""Many to one: a recurrent network reads a sentence, and its states are pooled over time."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional as F

from rnnkit.layers import Stack
from sequences.network.architecture import SentenceArchitecture, SentenceDropout
from sequences.network.words import WordEncoder
from sequences.words import Sentences, WordVocabulary

EVIDENCE = 2  # numbers a word and label: of the word, and of its pair with the word before


class ClassifierNetwork(nn.Module):
    """Words, recurrent layers, their maximum and mean over time, a label.

    Args:
        evidence: whether each word comes with what `sequences.evidence` knows of it. The sum over
            all words, naive Bayes's answer, then also enters the last layer.
    """

    def __init__(
        self,
        vocabulary: WordVocabulary,
        num_labels: int,
        architecture: SentenceArchitecture,
        dropout: SentenceDropout | None = None,
        *,
        evidence: bool = False,
    ) -> None:
        super().__init__()
        a, self.dropout = architecture, dropout or SentenceDropout()
        self.words = WordEncoder(vocabulary, a, self.dropout)
        extra = EVIDENCE * num_labels if evidence else 0
        self.layers = Stack(
            a.cell,
            self.words.output_size + extra,
            a.hidden_size,
            a.num_layers,
            bidirectional=a.bidirectional,
            dilations=a.dilations,
            dropout=self.dropout.hidden,
        )
        self.output = nn.Linear(2 * self.layers.output_size + extra, num_labels)

    def forward(self, sentences: Sentences, evidence: torch.Tensor | None = None) -> torch.Tensor:
        """Logits (B, labels).

        Args:
            evidence: (T, B, EVIDENCE * labels), 0 where there is no word; None if the network was
                built without.
        """
        x = self.words(sentences)
        if evidence is not None:
            x = torch.cat([x, evidence], dim=-1)
        y = self.layers(x, sentences.lengths)  # (T, B, H)
        absent = ~sentences.mask[:, :, None]
        highest = y.masked_fill(absent, -torch.inf).amax(0)  # (B, H)
        mean = y.masked_fill(absent, 0).sum(0) / sentences.lengths[:, None]
        pooled = F.dropout(torch.cat([highest, mean], dim=-1), self.dropout.output, self.training)
        if evidence is not None:
            pooled = torch.cat([pooled, evidence.sum(0)], dim=-1)
        logits: torch.Tensor = self.output(pooled)
        return logits
