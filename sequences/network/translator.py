"""Sequence to sequence: an encoder reads a sentence, a decoder writes another and looks back at the
encoder's states for each word (Bahdanau, Cho and Bengio 2015).
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from rnnkit.cells import STEPS
from rnnkit.layers import LAYERS, Stack, layer_weights, set_forget_bias
from sequences.network.architecture import SentenceArchitecture, SentenceDropout
from sequences.network.words import WordEncoder
from sequences.words import PAD, UNKNOWN, Sentences, WordVocabulary


class EncodedText(NamedTuple):
    """What the decoder looks back at, for B sentences of up to T words."""

    states: Tensor  # (B, T, E) of the encoder
    keys: Tensor  # (B, T, hidden) the same, as attention compares them
    lexicon: Tensor  # (B, T, word) what each word alone says of its translation
    absent: Tensor  # (B, T) True after the end of a sentence
    input_mask: Tensor  # (B, word) multiplies the embedding of each word written; 1 but in training
    readout_mask: Tensor  # (B, word) likewise, what the next word is read from


class TranslatorNetwork(nn.Module):
    """Encoder, attention, decoder. The output layer is the embedding of the words written.

    Each word that the decoder looks at also says directly, whatever stands around it, what it may
    be translated as, which few examples are enough to learn (Nguyen and Chiang 2018, Improving
    Lexical Choice in Neural Machine Translation).

    Args:
        num_targets: size of the vocabulary that it writes in.
    """

    def __init__(
        self,
        vocabulary: WordVocabulary,
        num_targets: int,
        architecture: SentenceArchitecture,
        dropout: SentenceDropout | None = None,
    ) -> None:
        super().__init__()
        a, self.dropout = architecture, dropout or SentenceDropout()
        self.num_targets = num_targets
        self.cell, self.parts = a.cell, 2 if a.cell == "lstm" else 1
        self.words = WordEncoder(vocabulary, a, self.dropout)
        self.encoder = Stack(
            a.cell,
            self.words.output_size,
            a.hidden_size,
            a.num_layers,
            bidirectional=a.bidirectional,
            dilations=a.dilations,
            dropout=self.dropout.hidden,
        )
        encoded = self.encoder.output_size
        self.start = nn.Linear(encoded, self.parts * a.hidden_size)
        self.key = nn.Linear(encoded, a.hidden_size)
        self.query = nn.Linear(a.hidden_size, a.hidden_size, bias=False)
        self.energy = nn.Linear(a.hidden_size, 1, bias=False)
        self.decoder = LAYERS[a.cell](a.word_size + encoded, a.hidden_size)
        set_forget_bias(self.decoder, 1.0)
        self.lexicon = nn.Linear(self.words.output_size, a.word_size, bias=False)
        self.readout = nn.Linear(a.hidden_size + encoded + a.word_size, a.word_size)
        self.target = nn.Embedding(num_targets, a.word_size)
        self.bias = nn.Parameter(torch.zeros(num_targets))
        self.input_scale = a.word_size**0.5  # logits need small rows, inputs large ones
        nn.init.normal_(self.target.weight, std=a.word_size**-0.5)

    def encode(self, sentences: Sentences) -> tuple[Tensor, EncodedText]:
        """Read sentences: the decoder's first state, (B, 1, parts, hidden), and its memory."""
        words = self.words(sentences)  # (T, B, words)
        states = self.encoder(words, sentences.lengths).transpose(0, 1)  # (B, T, E)
        absent = ~sentences.mask.T
        mean = states.masked_fill(absent[:, :, None], 0).sum(1) / sentences.lengths[:, None]
        first = torch.tanh(self.start(mean)).view(len(states), 1, self.parts, -1)
        whole = states.new_ones(len(states), self.target.embedding_dim)
        drop = self.dropout if self.training else SentenceDropout()
        return first, EncodedText(
            states,
            self.key(states),
            torch.tanh(self.lexicon(words)).transpose(0, 1),
            absent,
            F.dropout(whole, drop.input),
            F.dropout(whole, drop.output),
        )

    def step(
        self, words: Tensor, state: Tensor, memory: EncodedText
    ) -> tuple[Tensor, Tensor, Tensor]:
        """One word further with each of K translations of each sentence.

        Args:
            words: (B, K) the words before.
            state: (B, K, parts, hidden).

        Returns: what `logits` reads, (B, K, word); the new state; attention (B, K, T).
        """
        y = self.target(words) * self.input_scale * memory.input_mask[:, None]  # (B, K, W)
        query = self.query(state[:, :, 0])  # (B, K, H)
        energy = self.energy(torch.tanh(query[:, :, None] + memory.keys[:, None]))[..., 0]
        attention = energy.masked_fill(memory.absent[:, None], -torch.inf).softmax(-1)  # (B, K, T)
        context = attention @ memory.states  # (B, K, E)
        x = torch.cat([y, context], dim=-1)
        stepped = STEPS[self.cell](
            x.flatten(0, 1), state.flatten(0, 1).transpose(0, 1), layer_weights(self.decoder)
        )  # (parts, B * K, H)
        state = stepped.transpose(0, 1).unflatten(0, words.shape)
        read = torch.tanh(self.readout(torch.cat([state[:, :, 0], x], dim=-1)))  # (B, K, W)
        read = read + attention @ memory.lexicon
        return read * memory.readout_mask[:, None], state, attention

    def logits(self, read: Tensor) -> Tensor:
        """Logits of the next word, (..., targets)."""
        return F.linear(read, self.target.weight, self.bias)

    def forward(self, sentences: Sentences, before: Tensor) -> tuple[Tensor, Tensor]:
        """Write given translations (teacher forcing).

        Args:
            before: (L, B) the word before each one: the start, then the translation.

        Returns: logits (L, B, targets), attention (L, B, T).
        """
        if self.training and self.dropout.word:
            dropped = torch.rand(before.shape, device=before.device) < self.dropout.word
            dropped[0] = False
            before = before.masked_fill(dropped & (before != PAD), UNKNOWN)
        state, memory = self.encode(sentences)
        reads, grids = [], []
        for words in before:
            read, state, attention = self.step(words[:, None], state, memory)
            reads.append(read[:, 0])
            grids.append(attention[:, 0])
        return self.logits(torch.stack(reads)), torch.stack(grids)
