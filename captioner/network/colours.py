"""The colours of each region of a photo, for decoders whose CNN has forgotten them."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

# Colours that people name, as RGB from 0 to 1, and shades between them, so that each pixel has one
# like itself.
PALETTE = {
    "black": (0.05, 0.05, 0.05),
    "dark grey": (0.25, 0.25, 0.25),
    "grey": (0.50, 0.50, 0.50),
    "light grey": (0.75, 0.75, 0.75),
    "white": (0.95, 0.95, 0.95),
    "brown": (0.40, 0.25, 0.13),
    "tan": (0.80, 0.66, 0.50),
    "red": (0.80, 0.10, 0.10),
    "dark red": (0.45, 0.08, 0.10),
    "pink": (0.92, 0.55, 0.65),
    "orange": (0.93, 0.50, 0.12),
    "yellow": (0.93, 0.85, 0.20),
    "olive": (0.30, 0.35, 0.15),
    "green": (0.20, 0.60, 0.25),
    "light green": (0.60, 0.75, 0.40),
    "teal": (0.15, 0.50, 0.50),
    "light blue": (0.55, 0.75, 0.92),
    "blue": (0.15, 0.35, 0.75),
    "navy": (0.08, 0.12, 0.35),
    "purple": (0.45, 0.20, 0.55),
}


class ColourShares(nn.Module):
    """Which share of the pixels of each region of a photo looks like each colour of the `PALETTE`.

    A pixel is shared out by a softmax over its negative squared distances to the colours. Distances
    are measured in brightness and in two differences of colour, which count more, because light and
    shadow change brightness most. The pixel's own square is the same for all colours and cancels
    out, so a 1 x 1 convolution gives the logits.

    Args:
        side: regions along each side of the photo.
        blur: pixels along each side that are averaged first.
        width: distance at which a colour still counts as alike.
    """

    weight: Tensor  # (P, 3, 1, 1)
    bias: Tensor  # (P,)

    def __init__(self, side: int, *, blur: int = 4, width: float = 0.1) -> None:
        super().__init__()
        self.side, self.blur = side, blur
        opponent = torch.tensor([[0.3, 0.59, 0.11], [1.5, -1.5, 0.0], [-0.75, -0.75, 1.5]])
        colours = torch.tensor(list(PALETTE.values())) @ opponent.T  # (P, 3)
        weight, bias = colours @ opponent, -colours.square().sum(dim=1) / 2
        self.register_buffer("weight", weight[..., None, None] / width**2, persistent=False)
        self.register_buffer("bias", bias / width**2, persistent=False)

    def forward(self, pixels: Tensor) -> Tensor:
        """Shares (B, P, side, side) of pixels (B, S, S, 3) uint8; those of a region sum to 1."""
        return F.adaptive_avg_pool2d(self.likeness(pixels), self.side)

    def likeness(self, pixels: Tensor) -> Tensor:
        """Shares (B, P, s, s) of each blurred pixel, of pixels (B, S, S, 3) uint8."""
        rgb = F.avg_pool2d(pixels.permute(0, 3, 1, 2) / 255, self.blur)  # (B, 3, s, s)
        return F.conv2d(rgb, self.weight, self.bias).softmax(dim=1)


def resized(grid: Tensor, side: int) -> Tensor:
    """A grid (B, C, h, h) as (B, C, side, side): each position takes the one nearest to its centre.

    A grid that is resized to a larger one and back is the same again.
    """
    indices = (2 * torch.arange(side, device=grid.device) + 1) * grid.shape[-1] // (2 * side)
    return grid[:, :, indices][..., indices]
