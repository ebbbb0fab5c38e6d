"""The learning rate over a training run."""

from __future__ import annotations

import math


def warmup_cosine(
    step: int, total_steps: int, *, peak: float, warmup_steps: int, final: float = 0.0
) -> float:
    """The learning rate of a step: a linear warm-up to the peak, then half a cosine.

    Loshchilov & Hutter 2017 (arXiv 1608.03983), equation 5, with a single period.

    Args:
        step: from 0 to total_steps - 1.
        final: the rate that the cosine ends at.
    """
    if step < warmup_steps:
        return peak * (step + 1) / warmup_steps
    done = min(1.0, (step - warmup_steps) / max(1, total_steps - warmup_steps))
    return final + (peak - final) * (1 + math.cos(math.pi * done)) / 2
