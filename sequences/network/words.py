"""A vector for each word: its embedding, and what a recurrent network makes of its characters."""

from __future__ import annotations

import torch
from torch import nn

from rnnkit.layers import Stack, drop_units
from sequences.network.architecture import SentenceArchitecture, SentenceDropout
from sequences.words import PAD, UNKNOWN, Sentences, WordVocabulary

GROUPS = 4  # of words of similar length, each spelt as a batch of its own


class WordEncoder(nn.Module):
    """Words and their spelling as vectors, so that no word is unknown (Ling et al. 2015).

    The characters are read in both directions; the last state of each describes the word. A word
    that a batch has more than once is spelt once.
    """

    def __init__(
        self, vocabulary: WordVocabulary, a: SentenceArchitecture, dropout: SentenceDropout
    ) -> None:
        super().__init__()
        self.embedding = nn.Embedding(vocabulary.num_words, a.word_size, padding_idx=PAD)
        self.characters = nn.Embedding(vocabulary.num_characters, a.character_size, padding_idx=PAD)
        self.spelling = Stack(a.cell, a.character_size, a.spelling_size, bidirectional=True)
        self.output_size = a.word_size + 2 * a.spelling_size
        self.dropout = dropout
        nn.init.normal_(self.embedding.weight, std=a.word_size**-0.5)

    def forward(self, sentences: Sentences) -> torch.Tensor:
        """Vectors (T, B, word + 2 * spelling) of all words; the batch must be on this device."""
        words = sentences.words
        if self.training and self.dropout.word:
            dropped = torch.rand(words.shape, device=words.device) < self.dropout.word
            words = words.masked_fill(dropped & (words != PAD), UNKNOWN)
        spelt = self.spell(sentences.spellings, sentences.spelling_lengths)  # (U, 2S)
        x = torch.cat([self.embedding(words), spelt[sentences.spelling_of]], dim=-1)
        return drop_units(x, self.dropout.input) if self.training else x

    def spell(self, spellings: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
        """Vectors (U, 2 * spelling) of words from their characters, (C, U)."""
        order = lengths.argsort()
        # Short words do not wait for long ones, most of which would be padding.
        groups = [
            self._spell_group(spellings[:, places], lengths[places])
            for places in order.chunk(GROUPS)
        ]
        return torch.cat(groups)[order.argsort()]

    def _spell_group(self, spellings: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
        y = self.spelling(self.characters(spellings[: int(lengths.max())]), lengths)  # (C, U, 2S)
        size = y.shape[-1] // 2
        # The forward layer ends at the last character, the backward one at the first.
        last = (lengths - 1)[None, :, None].expand(1, -1, size)
        return torch.cat([y[:, :, :size].gather(0, last)[0], y[0, :, size:]], dim=-1)
