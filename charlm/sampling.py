"""From logits to characters: temperature, top-k, top-p, stop strings, a seed."""

from __future__ import annotations

from collections.abc import Iterator

import torch


def sample(model, prompt="", *, length=200, temperature=1.0, seed=None) -> Iterator[str]:
    generator = torch.Generator().manual_seed(seed or 0)
    ids = model.vocabulary.encode(prompt)
    with torch.inference_mode():
        if len(ids):
            logits, state = model.network(ids[:, None].to(model.device))
            logits = logits[-1, 0]
        else:
            logits, state = torch.zeros(len(model.vocabulary)), None
        for _ in range(length):
            index = int(torch.multinomial((logits.float().cpu() / temperature).softmax(-1), 1, generator=generator))
            yield model.vocabulary[index]
            logits, state = model.network(torch.tensor([[index]], device=model.device), state)
            logits = logits[-1, 0]
