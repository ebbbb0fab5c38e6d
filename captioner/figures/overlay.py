"""A photo that is dark where the network did not look."""

from __future__ import annotations

import numpy as np
from PIL import Image

DARKEST = 0.25  # brightness of places where it did not look at all


def overlay(photo: Image.Image, weights: np.ndarray) -> Image.Image:
    """The photo, as bright as the attention of one word (rows, columns) is high."""
    brightness = DARKEST + (1 - DARKEST) * weights / max(float(weights.max()), 1e-9)
    mask = Image.fromarray(np.rint(255 * brightness).astype(np.uint8))
    mask = mask.resize(photo.size, Image.Resampling.BICUBIC)
    return Image.composite(photo, Image.new("RGB", photo.size), mask)
