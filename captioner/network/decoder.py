"""The attention LSTM that writes a sentence about a grid of regions.

After Xu et al. 2015, "Show, Attend and Tell". One step, with the embedding e_t of the word before,
region values V = (v_1 .. v_R) and state (h, c):

    a_t,i   = softmax_i( w . tanh(W_k v_i + W_q h_{t-1}) )  additive attention (Bahdanau et al.
                                                            2015; Xu eq. 4-6)
    z_t     = sigmoid(W_b h_{t-1}) * sum_i a_t,i v_i        gated context (Xu section 4.2.1)
    h_t,c_t = LSTM([e_t; z_t], h_{t-1}, c_{t-1})            Hochreiter & Schmidhuber 1997
    y_t     = softmax(E tanh(W_h h_t + W_z z_t + W_e e_t))  deep output (Xu eq. 7)

| symbol          | module                                                                  |
|-----------------|-------------------------------------------------------------------------|
| v_i             | `value`, with ReLU, of the encoder's features                           |
| h_0, c_0        | `initial`, with tanh, of the mean region (Xu section 3.1.2)             |
| e_t             | `embedding`                                                             |
| W_k, w          | `key`, `energy`                                                         |
| W_q, W_b        | rows of `from_hidden`: `FromHidden.query`, `FromHidden.context_gate`    |
| LSTM            | sum of `word_gates` e_t, `context_gates` z_t and `FromHidden.gates`     |
| W_h, W_z, W_e   | `output_hidden`, `output_context`, `output_word`                        |
| E               | `embedding` (tied, Press & Wolf 2017) or `output_weight`; `output_bias` |

With `adaptive`, a sentinel joins the regions, so that the network can choose to look at nothing
(Lu et al. 2017). It is computed from the state before the step, because attention comes before the
LSTM here; its gate is `FromHidden.sentinel_gate`. With attention "none" the image is seen once, as
the first state (Vinyals et al. 2015, "Show and Tell").
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from captioner.network.vocabulary import PAD

ATTENTIONS = ("additive", "none")
SIZES = ("vocabulary_size", "channels", "embedding_size", "hidden_size")


@dataclass(frozen=True)
class DecoderConfig:
    """Sizes and choices of a decoder; stored in the checkpoint."""

    vocabulary_size: int
    channels: int  # of a region's features
    embedding_size: int = 512  # of a word
    hidden_size: int = 512  # of the LSTM
    attention_size: int = 512  # of the additive attention's inner layer
    attention: str = "additive"
    adaptive: bool = False  # add a sentinel to the regions
    tied: bool = True  # the output layer uses the embedding's matrix
    dropout: float = 0.5  # on embeddings, region values and the output layer's input

    def __post_init__(self) -> None:
        """Raises: ValueError naming a value that makes no sense."""
        for name in (*SIZES, "attention_size"):
            if type(size := getattr(self, name)) is not int or not 1 <= size <= 1_000_000:
                raise ValueError(f"{name} must be a whole number from 1 to 1000000, not {size!r}")
        for name in ("adaptive", "tied"):
            if type(choice := getattr(self, name)) is not bool:
                raise ValueError(f"{name} must be true or false, not {choice!r}")
        if self.attention not in ATTENTIONS:
            raise ValueError(f"attention must be one of {ATTENTIONS}, not {self.attention!r}")
        if not 0 <= self.dropout <= 1:
            raise ValueError(f"dropout must be from 0 to 1, not {self.dropout!r}")

    def used(self) -> dict[str, int]:
        """The sizes that its tensors have."""
        names = SIZES if self.attention == "none" else (*SIZES, "attention_size")
        return {name: getattr(self, name) for name in names}


class State(NamedTuple):
    """What changes along a sentence; K sentences an image."""

    hidden: Tensor  # (B, K, H)
    cell: Tensor  # (B, K, H)


class Memory(NamedTuple):
    """What a sentence looks at and what does not change along it."""

    keys: Tensor  # (B, R, A)
    values: Tensor  # (B, R, H)


class FromHidden(NamedTuple):
    """What one product with h_{t-1} gives; the last three are empty where they are not used."""

    gates: Tensor  # (B, K, 4 H) its share of the LSTM's gates
    query: Tensor  # (B, K, A)
    context_gate: Tensor  # (B, K, H)
    sentinel_gate: Tensor  # (B, K, H)


class Decoder(nn.Module):
    """The attention LSTM.

    Shapes: B images, K sentences for each, T words, R regions, H hidden, E embedding, A attention,
    V vocabulary.
    """

    def __init__(self, config: DecoderConfig) -> None:
        super().__init__()
        self.config = config
        hidden, embedding = config.hidden_size, config.embedding_size
        self.embedding = nn.Embedding(config.vocabulary_size, embedding)
        self.value = nn.Linear(config.channels, hidden)
        self.initial = nn.Linear(hidden, 2 * hidden)
        self.attends = config.attention != "none"
        self.word_gates = nn.Linear(
            embedding, 4 * hidden
        )  # gates in torch.nn.LSTM's order: input, forget, cell, output
        attends, adapts = self.attends, self.attends and config.adaptive
        self._widths = (
            4 * hidden,  # the LSTM's gates
            config.attention_size if attends else 0,  # query
            hidden if attends else 0,  # the context's gate
            hidden if adapts else 0,  # the sentinel's gate
        )
        self.from_hidden = nn.Linear(hidden, sum(self._widths))
        if self.attends:
            self.key = nn.Linear(hidden, config.attention_size, bias=False)
            self.energy = nn.Linear(config.attention_size, 1, bias=False)
            self.context_gates = nn.Linear(hidden, 4 * hidden, bias=False)
            self.output_context = nn.Linear(hidden, embedding, bias=False)
        self.output_hidden = nn.Linear(hidden, embedding)
        self.output_word = nn.Linear(embedding, embedding, bias=False)
        self.output_bias = nn.Parameter(torch.zeros(config.vocabulary_size))
        self.output_weight = (
            None if config.tied else nn.Parameter(torch.empty(config.vocabulary_size, embedding))
        )
        self.dropout = FastDropout(config.dropout)
        self._initialise()

    def _initialise(self) -> None:
        # A tied matrix serves as embedding and output layer; at this scale both start sensibly.
        nn.init.normal_(self.embedding.weight, std=self.config.embedding_size**-0.5)
        if self.output_weight is not None:
            nn.init.normal_(self.output_weight, std=self.config.embedding_size**-0.5)
        hidden = self.config.hidden_size
        for gate in self.from_hidden.weight[: 4 * hidden].split(hidden):
            nn.init.orthogonal_(gate)
        nn.init.zeros_(self.from_hidden.bias)
        nn.init.zeros_(self.word_gates.bias)
        nn.init.ones_(
            self.word_gates.bias[hidden : 2 * hidden]
        )  # the forget gate starts open (Jozefowicz et al. 2015)

    def start(self, features: Tensor) -> tuple[State, Memory]:
        """The first state, from the mean region, and what attention will look at.

        Args:
            features: (B, R, channels).

        Returns: the state with K = 1, and the memory.
        """
        values = self.dropout(F.relu(self.value(features)))  # (B, R, H)
        initial = torch.tanh(self.initial(values.mean(dim=1, keepdim=True)))  # (B, 1, 2 H)
        hidden, cell = initial.chunk(2, dim=-1)  # (B, 1, H) each
        keys = self.key(values) if self.attends else values[..., :0]  # (B, R, A)
        return State(hidden, cell), Memory(keys, values)

    def step(self, words: Tensor, state: State, memory: Memory) -> tuple[Tensor, State, Tensor]:
        """One word in, the next word's logits out.

        Args:
            words: ids (B, K).

        Returns: logits (B, K, V); state; attention (B, K, R), or (B, K, 0) without attention.
        """
        embedded = self.embedding(words)  # (B, K, E)
        state, context, attention = self._recur(self.word_gates(embedded), state, memory)
        return self.project(self._output(embedded, state.hidden, context)), state, attention

    def forward(self, words: Tensor, features: Tensor) -> tuple[Tensor, Tensor]:
        """Teacher-forced logits (B, K, T, V) and attention (B, K, T, R); arguments as for `read`.

        Logits are zero where there is no word.
        """
        outputs, attention = self.read(words, features)
        logits = self.project(outputs)  # (N, V)
        return _spread(logits, _present(words), words.shape), attention

    def read(
        self, words: Tensor, features: Tensor, *, sampling_rate: float = 0.0
    ) -> tuple[Tensor, Tensor]:
        """Teacher-forced outputs, from which `project` computes the logits of all words at once.

        Args:
            words: ids (B, K, T): K sentences for each image, from <start> on, filled up with <pad>.
                Columns after the last one that still has words are not computed, so sentences
                sorted by length, longest first, save time.
            features: (B, R, channels).
            sampling_rate: chance that a word after the first is replaced by one drawn from the
                model's own prediction (scheduled sampling, Bengio et al. 2015).

        Returns: outputs (N, E) of the N words that are not <pad>, in their order in `words`;
            attention (B, K, T, R).
        """
        state, memory = self.start(features)
        state = State(*(part.expand(-1, words.shape[1], -1) for part in state))  # (B, K, H)
        present = _present(words)  # (N,)
        embedded = self.dropout(self.embedding(words.flatten()[present]))  # (N, E)
        gates = _spread(self.word_gates(embedded), present, words.shape)  # (B, K, T, 4 H)
        given = _spread(embedded, present, words.shape)  # (B, K, T, E)
        # For each step: the words read, the hidden state after them, context and attention.
        steps: list[tuple[Tensor, Tensor, Tensor, Tensor]] = []
        for position, columns in enumerate(_columns(words)):
            word = given[:, :columns, position]  # (B, k, E)
            word_gates = gates[:, :columns, position]  # (B, k, 4 H)
            if sampling_rate and steps:
                last = (part[:, :columns] for part in steps[-1][:3])
                word = self._own_word(word, *last, rate=sampling_rate)
                word_gates = self.word_gates(word)
            state = State(*(part[:, :columns] for part in state))
            state, context, attention = self._recur(word_gates, state, memory)
            steps.append((word, state.hidden, context, attention))
        # The output layer feeds nothing back, so all words can share one product at the end.
        read, hidden, contexts, attentions = (
            torch.stack([_pad_columns(part, words.shape[1]) for part in parts], dim=2)
            for parts in zip(*steps, strict=True)
        )  # (B, K, T, ...) each
        read, hidden, contexts = (
            part.flatten(0, 2).index_select(0, present) for part in (read, hidden, contexts)
        )  # (N, ...) each
        return self._output(read, hidden, contexts), attentions

    def project(self, outputs: Tensor) -> Tensor:
        """Logits (..., V) of outputs (..., E)."""
        weight = self.embedding.weight if self.output_weight is None else self.output_weight
        return F.linear(outputs, weight, self.output_bias)

    def _recur(
        self, word_gates: Tensor, state: State, memory: Memory
    ) -> tuple[State, Tensor, Tensor]:
        """Attention and the LSTM for one step.

        Returns: state; gated context (B, K, H); attention (B, K, R). The last two are empty without
            attention.
        """
        shares = FromHidden(*self.from_hidden(state.hidden).split(self._widths, dim=-1))
        gates = shares.gates + word_gates  # (B, K, 4 H)
        context = attention = gates[..., :0]
        if self.attends:
            context, attention = self._attend(shares, state, memory)
            gates = gates + self.context_gates(context)
        # In full precision, because the cell is a sum over time.
        enter, forget, candidate, leave = gates.float().chunk(4, dim=-1)  # (B, K, H) each
        cell = torch.sigmoid(forget) * state.cell + torch.sigmoid(enter) * torch.tanh(candidate)
        return State(torch.sigmoid(leave) * torch.tanh(cell), cell), context, attention

    def _attend(self, shares: FromHidden, state: State, memory: Memory) -> tuple[Tensor, Tensor]:
        """Gated context (B, K, H) and attention over the regions (B, K, R)."""
        query = shares.query
        inner = torch.tanh(memory.keys.unsqueeze(1) + query.unsqueeze(2))  # (B, K, R, A)
        energies = self.energy(inner).squeeze(-1)  # (B, K, R)
        if not self.config.adaptive:
            attention = energies.float().softmax(dim=-1)
            context = attention.to(memory.values.dtype) @ memory.values  # (B, K, H)
            return torch.sigmoid(shares.context_gate) * context, attention
        cell = torch.tanh(state.cell).to(query.dtype)
        sentinel = torch.sigmoid(shares.sentinel_gate) * cell  # (B, K, H)
        energy = self.energy(torch.tanh(self.key(sentinel) + query))  # (B, K, 1)
        attention = torch.cat([energies, energy], dim=-1).float().softmax(dim=-1)  # (B, K, R + 1)
        weights = attention.to(memory.values.dtype)
        context = weights[..., :-1] @ memory.values + weights[..., -1:] * sentinel
        return torch.sigmoid(shares.context_gate) * context, attention[..., :-1]

    def _output(self, embedded: Tensor, hidden: Tensor, context: Tensor) -> Tensor:
        combined = self.output_hidden(self.dropout(hidden)) + self.output_word(embedded)
        if self.attends:
            combined = combined + self.output_context(context)
        output: Tensor = self.dropout(torch.tanh(combined))
        return output

    def _own_word(
        self, given: Tensor, read: Tensor, hidden: Tensor, context: Tensor, *, rate: float
    ) -> Tensor:
        """The given words (B, K, E), some replaced by words drawn from the last prediction.

        Args:
            read, hidden, context: of the step before, which the prediction is computed from.
            rate: chance of replacing a word.
        """
        with torch.no_grad():
            own = torch.rand(given.shape[:-1], device=given.device) < rate  # (B, K)
            logits = self.project(self._output(read, hidden, context))  # (B, K, V)
            probabilities = logits.float().softmax(dim=-1)
            drawn = torch.multinomial(probabilities.flatten(0, 1), 1).view_as(own)  # (B, K)
        return torch.where(own.unsqueeze(-1), self.dropout(self.embedding(drawn)), given)


class FastDropout(nn.Dropout):
    """torch.nn.Dropout with faster random numbers: a fifth of its time on a CPU."""

    def forward(self, inputs: Tensor) -> Tensor:
        if not self.training or not self.p:
            return inputs
        kept = (torch.rand(inputs.shape, device=inputs.device) >= self.p).to(inputs.dtype)
        return inputs * kept.mul_(1 / (1 - self.p))


def _present(words: Tensor) -> Tensor:
    """Where in `words`, flattened, there is a word: indices (N,)."""
    return (words != PAD).flatten().nonzero().squeeze(1)


def _spread(rows: Tensor, present: Tensor, shape: torch.Size) -> Tensor:
    """Rows (N, C) at the positions that have a word, zeros elsewhere: (B, K, T, C)."""
    spread = rows.new_zeros(shape.numel(), rows.shape[-1])
    return spread.index_copy(0, present, rows).view(*shape, -1)


def _pad_columns(part: Tensor, columns: int) -> Tensor:
    """(B, k, C) filled up with zeros to (B, columns, C)."""
    return F.pad(part, (0, 0, 0, columns - part.shape[1]))


def _columns(words: Tensor) -> list[int]:
    """How many of the K columns have to be computed at each of the T positions.

    A column has to be computed as long as it, or one after it, still has words. It is at least one,
    because one process's share of a batch may lack the longest sentence.

    Args:
        words: (B, K, T).
    """
    present = (words != PAD).any(dim=0).int()  # (K, T)
    numbers = torch.arange(1, len(present) + 1, device=words.device).unsqueeze(1)  # (K, 1)
    last = (present * numbers).amax(dim=0)  # (T,)
    return last.flip(0).cummax(dim=0).values.flip(0).clamp(min=1).tolist()
