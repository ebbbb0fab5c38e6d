"""How fast charlm samples, beside torch.nn.LSTM's loop, memory bandwidth and a transformer.

The transformer has the shape of nanoGPT's character model; 64 prompts at once are timed, too.
"""

from __future__ import annotations

import math
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import torch
import typer
from torch import nn
from torch.nn import functional as F

from charlm import CharLM, SamplingParams
from charlm.inference.base import Precision
from charlm.inference.folded_weights import fold_weights
from rnnkit.command_line import run_app

CONTEXT = 256


def benchmark(
    model: Annotated[
        Path | None,
        typer.Option("--model", help="Checkpoint; the bundled model if not given."),
    ] = None,
    repetitions: Annotated[
        int, typer.Option("--repetitions", help="Alternating repetitions; medians are printed.")
    ] = 5,
    characters: Annotated[
        int, typer.Option("--characters", help="Characters that charlm samples in a repetition.")
    ] = 2000,
    threads: Annotated[int, typer.Option("--threads")] = 2,
) -> None:
    """Print each comparison with its ratio."""
    torch.set_num_threads(threads)
    lm = CharLM.load(model)
    gpt = TinyGPT(len(lm.vocabulary)).eval()
    timings = alternate(
        repetitions,
        {
            "charlm": lambda: sample(lm, characters, "auto") / characters,
            "charlm float32": lambda: sample(lm, characters // 4, "float32") / (characters // 4),
            "loop": lambda: obvious_loop(lm, max(20, characters // 20)),
            "stream int8": lambda: stream(weight_bytes(lm, 1)),
            "stream float32": lambda: stream(weight_bytes(lm, 4)),
            "64 prompts": lambda: sample_many(lm, 64, characters // 8) / (64 * (characters // 8)),
            "transformer": lambda: sample_transformer(gpt, every=max(1, 40_000 // characters)),
            "cold start": lambda: cold_start(model),
        },
    )
    one, exact = timings["charlm"], timings["charlm float32"]
    print(
        f"one prompt: {1 / one:,.0f} chars/s; float32 weights {1 / exact:,.0f}; the loop over"
        f" torch.nn.LSTM {1 / timings['loop']:,.1f}"
    )
    print(
        f"  ratio to the loop: {timings['loop'] / one:.1f} (float32:"
        f" {timings['loop'] / exact:.1f}); goal: 20"
    )
    for name, seconds, size in (("int8", one, 1), ("float32", exact, 4)):
        bound, read = timings[f"stream {name}"], weight_bytes(lm, size)
        print(
            f"  {name}: {read / 1e6:.1f} MB of weights a character, read alone at"
            f" {read / bound / 1e9:.0f} GB/s: {1 / bound:,.0f} a second"
        )
        print(f"  share of that bound reached: {bound / seconds:.0%}; goal: 50%")
    many = timings["64 prompts"]
    print(
        f"64 prompts at once: {1 / many:,.0f} chars/s, ratio to one prompt {one / many:.1f};"
        " goal: 8"
    )
    print(
        f"2,000 characters: {2000 * one:.2f} s, the transformer (estimated from every n-th)"
        f" {2000 * timings['transformer']:.1f} s"
    )
    print(f"  ratio: {timings['transformer'] / one:.0f}; goal: 50")
    print(
        f"charlm sample from a cold shell: first character after {timings['cold start']:.2f} s;"
        " goal: 3"
    )


def alternate(repetitions: int, tasks: dict[str, Callable[[], float]]) -> dict[str, float]:
    """The median of what each task returns; they take turns, so that other load affects all."""
    taken: dict[str, list[float]] = {name: [] for name in tasks}
    for repetition in range(repetitions + 1):
        for name, task in tasks.items():
            seconds = task()
            if repetition:  # the first round warms up
                taken[name].append(seconds)
    return {name: statistics.median(values) for name, values in taken.items()}


def seconds(task: Callable[[], object]) -> float:
    start = time.perf_counter()
    task()
    return time.perf_counter() - start


def sample(lm: CharLM, characters: int, precision: Precision) -> float:
    return seconds(
        lambda: sum(
            1
            for _ in lm.sample(
                "\n", length=characters, temperature=0.8, seed=1, precision=precision
            )
        )
    )


def sample_many(lm: CharLM, prompts: int, characters: int) -> float:
    return seconds(
        lambda: sum(
            1
            for _ in lm.sample_many(
                ["\n"] * prompts, length=characters, params=SamplingParams(0.8), seed=1
            )
        )
    )


@torch.inference_mode()
def obvious_loop(lm: CharLM, characters: int) -> float:
    """Seconds a character of the obvious loop: torch.nn.LSTM of the same sizes, a step a call."""
    a = lm.network.architecture
    embedding, output = (
        nn.Embedding(a.vocabulary_size, a.embedding_size),
        nn.Linear(a.hidden_size, a.vocabulary_size),
    )
    lstm = nn.LSTM(a.embedding_size, a.hidden_size, a.num_layers)

    def loop() -> None:
        ids, state = torch.zeros(1, 1, dtype=torch.long), None
        for _ in range(characters):
            y, state = lstm(embedding(ids), state)
            ids = torch.multinomial((output(y)[0] / 0.8).softmax(-1), 1)

    loop()
    return seconds(loop) / characters


def weight_bytes(lm: CharLM, size: int) -> int:
    """Bytes of weights read for each character; the output layer always has 32 bits."""
    weights = fold_weights(lm.network)
    matrices = [m for layer in weights.layers for m in (layer.weight, layer.input_weight)]
    recurrent = sum(matrix.numel() for matrix in matrices if matrix is not None)
    return recurrent * size + weights.output_weight.numel() * 4


def stream(size: int, rounds: int = 50) -> float:
    """Seconds to read `size` bytes once with all threads, by the fastest of torch's reductions."""
    buffer = torch.ones(math.ceil(size / 8), dtype=torch.int64)
    buffer.sum()
    return seconds(lambda: [buffer.sum() for _ in range(rounds)]) / rounds


class Block(nn.Module):
    """Causal attention and a feed-forward layer, each after a layer norm, with residuals."""

    def __init__(self, width: int, num_heads: int) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.norm1, self.to_qkv, self.from_heads = (
            nn.LayerNorm(width),
            nn.Linear(width, 3 * width),
            nn.Linear(width, width),
        )
        self.norm2, self.widen, self.narrow = (
            nn.LayerNorm(width),
            nn.Linear(width, 4 * width),
            nn.Linear(4 * width, width),
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        batch, time, width = x.shape
        qkv = self.to_qkv(self.norm1(x)).view(
            batch, time, 3, self.num_heads, width // self.num_heads
        )
        q, k, v = qkv.permute(2, 0, 3, 1, 4)  # (B, heads, T, W / heads) each
        heads = F.scaled_dot_product_attention(q, k, v, is_causal=True)  # (B, heads, T, W / heads)
        x = x + self.from_heads(heads.transpose(1, 2).flatten(2))
        x = x + self.narrow(F.gelu(self.widen(self.norm2(x))))
        return x  # (B, T, W)


class TinyGPT(nn.Module):
    """A decoder-only transformer with random weights: 6 layers, 6 heads, 384 wide, no cache."""

    def __init__(
        self, vocabulary_size: int, width: int = 384, num_layers: int = 6, num_heads: int = 6
    ) -> None:
        super().__init__()
        self.tokens, self.positions = (
            nn.Embedding(vocabulary_size, width),
            nn.Embedding(CONTEXT, width),
        )
        self.blocks = nn.Sequential(*(Block(width, num_heads) for _ in range(num_layers)))
        self.norm, self.output = nn.LayerNorm(width), nn.Linear(width, vocabulary_size, bias=False)

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        """ids: (batch, time). Returns: logits after the last, (batch, vocabulary)."""
        x = self.blocks(self.tokens(ids) + self.positions.weight[: ids.shape[1]])  # (B, T, W)
        logits: torch.Tensor = self.output(self.norm(x[:, -1]))
        return logits


@torch.inference_mode()
def sample_transformer(gpt: TinyGPT, every: int) -> float:
    """Seconds a character of sampling 2,000 without a cache.

    Only every n-th character is timed, with the context that it would have.
    """
    ids = torch.zeros(1, CONTEXT, dtype=torch.long)
    lengths = [min(position, CONTEXT) for position in range(1, 2001, every)]
    return seconds(
        lambda: [torch.multinomial(gpt(ids[:, :length]).softmax(-1), 1) for length in lengths]
    ) / len(lengths)


def cold_start(model: Path | None) -> float:
    """Seconds from the start of a new process to its first character of output."""
    command = [
        sys.executable,
        "-m",
        "charlm.cli",
        "sample",
        "--length",
        "50",
        *(["--model", str(model)] if model else []),
    ]
    start = time.perf_counter()
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.read(1)
        taken = time.perf_counter() - start
        process.stdout.read()
    return taken


if __name__ == "__main__":
    run_app("benchmark_charlm_sampling", benchmark)
