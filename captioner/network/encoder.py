"""A pretrained CNN that turns a photo into a grid of region features, with its preprocessing."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from captioner.network.colours import PALETTE, ColourShares, resized
from rnnkit.errors import UserError


@dataclass(frozen=True)
class Preprocessing:
    """How a photo becomes the CNN's input: squashed to a square of `size` pixels, then normalised.

    Squashing does not keep the aspect ratio, but nothing is cut off. With `colours`, the decoder is
    also told the colours of each region, which CNNs trained to name objects mostly forget.
    """

    size: int
    mean: tuple[float, float, float] = (0.5, 0.5, 0.5)
    std: tuple[float, float, float] = (0.5, 0.5, 0.5)
    colours: bool = False

    @classmethod
    def from_config(cls, stored: dict[str, Any]) -> Preprocessing:
        """From a checkpoint's config.

        Raises: KeyError, TypeError or ValueError for values that make no sense.
        """
        size, mean, std = stored["size"], tuple(stored["mean"]), tuple(stored["std"])
        colours = stored.get("colours", False)
        if type(size) is not int or not 1 <= size <= 4096:
            raise ValueError(f"size must be a whole number of pixels from 1 to 4096, not {size!r}")
        if not (
            len(mean) == len(std) == 3 and all(map(math.isfinite, mean + std)) and min(std) > 0
        ):
            raise ValueError(
                f"mean and std must be three numbers each, those of std above 0, not {mean} and"
                f" {std}"
            )
        if type(colours) is not bool:
            raise ValueError(f"colours must be true or false, not {colours!r}")
        return cls(size, mean, std, colours)

    def pixels(self, image: Image.Image) -> np.ndarray:
        """The squashed photo, (size, size, 3) uint8."""
        if image.size != (self.size, self.size):
            image = image.resize((self.size, self.size), Image.Resampling.BICUBIC, reducing_gap=3.0)
        return np.array(image, dtype=np.uint8)


class Encoder(nn.Module):
    """A CNN without its classifier: pixels in, a grid of regions out.

    Its stages run one after the other, so that the first ones can be frozen, and their output
    computed once (`front`), while the last ones learn (`back`). Batch-norm statistics stay fixed
    in training too: captioning batches are too small, and too unlike ImageNet's, to estimate them.

    Args:
        name: the name that `create_encoder` was called with.
        stages: modules that together turn normalised pixels (B, 3, S, S) into features
            (B, channels, h, w).

    Raises: UserError if the stages do not give a grid.
    """

    scale: Tensor  # (3,); pixels * scale + shift is normalised
    shift: Tensor  # (3,)

    def __init__(self, name: str, stages: list[nn.Module], preprocessing: Preprocessing) -> None:
        super().__init__()
        self.name, self.preprocessing = name, preprocessing
        self.stages = nn.Sequential(*stages)
        mean, std = torch.tensor(preprocessing.mean), torch.tensor(preprocessing.std)
        self.register_buffer("scale", 1 / (255 * std), persistent=False)  # (3,)
        self.register_buffer("shift", -mean / std, persistent=False)
        self.requires_grad_(False).eval()
        try:
            with torch.inference_mode():
                grid = self.stages(torch.zeros(1, 3, preprocessing.size, preprocessing.size))
        except RuntimeError:  # its parts cannot be run one after the other
            grid = torch.empty(0)
        if grid.dim() != 4:
            raise UserError(f"'{name}' does not give a grid of regions: choose another CNN")
        self.channels, self.regions = int(grid.shape[1]), int(grid.shape[2] * grid.shape[3])
        self.colours = ColourShares(grid.shape[2]) if preprocessing.colours else None
        if self.colours is not None:
            if grid.shape[2] != grid.shape[3]:
                raise UserError(
                    f"'{name}' does not give a square grid of regions: leave out colours"
                )
            self.channels += len(PALETTE)

    def forward(self, pixels: Tensor) -> Tensor:
        """Region features of photos.

        Args:
            pixels: (B, size, size, 3) uint8.
        Returns: (B, regions, channels), regions row by row.
        """
        return self.back(self.front(pixels, 0), 0)

    def front(self, pixels: Tensor, trained: int) -> Tensor:
        """The output (B, h, w, C) of all but the last `trained` stages, for (B, size, size, 3).

        With colours, each position's last channels are the colours of the region that it lies in.
        """
        inputs = (pixels * self.scale + self.shift).permute(0, 3, 1, 2)  # (B, 3, S, S)
        grid: Tensor = self.stages[: len(self.stages) - trained](inputs)  # (B, C, h, w)
        if self.colours is not None:
            grid = torch.cat([grid, resized(self.colours(pixels), grid.shape[-1])], dim=1)
        return grid.permute(0, 2, 3, 1)

    def back(self, grid: Tensor, trained: int) -> Tensor:
        """Region features (B, regions, channels) from the output of `front` (B, h, w, C)."""
        last = self.stages[len(self.stages) - trained :]
        grid = grid.permute(0, 3, 1, 2)  # (B, C, h, w)
        if self.colours is None:
            features: Tensor = last(grid)  # (B, channels, h', w')
        else:
            found = last(grid[:, : -len(PALETTE)])
            shares = resized(grid[:, -len(PALETTE) :], found.shape[-1])
            features = torch.cat([found, shares], dim=1)
        return features.flatten(2).transpose(1, 2)  # (B, R, channels)

    def unfreeze(self, trained: int) -> None:
        """Make the last `trained` stages trainable, except for their depthwise convolutions.

        Those hold few of the weights, but on a CPU their gradient takes longer than all others.

        Raises: UserError if there are fewer stages.
        """
        if not 0 <= trained <= len(self.stages):
            raise UserError(
                f"'{self.name}' has {len(self.stages)} stages, so {trained} cannot be fine-tuned"
            )
        self.requires_grad_(False)
        for module in self.stages[len(self.stages) - trained :].modules():
            if not (isinstance(module, nn.Conv2d) and module.groups == module.in_channels > 1):
                for parameter in module.parameters(recurse=False):
                    parameter.requires_grad_(True)

    def train(self, mode: bool = True) -> Encoder:
        """Training mode for the stages that learn (stochastic depth), but not for batch norms."""
        super().train(False)
        if mode:
            for stage in self.stages:
                stage.train(any(parameter.requires_grad for parameter in stage.parameters()))
            for module in self.modules():
                if isinstance(module, nn.modules.batchnorm._BatchNorm):
                    module.eval()
        return self

    @property
    def built(self) -> Encoder:
        """Itself; see `LazyEncoder`."""
        return self


@dataclass(frozen=True)
class LazyEncoder:
    """An encoder in a checkpoint, which is built when its layers are first needed.

    Once OpenVINO has converted the network it no longer needs them, and importing timm and
    torchvision takes longer than everything else in a cold start.
    """

    name: str
    preprocessing: Preprocessing
    build: Callable[[], Encoder]

    @cached_property
    def built(self) -> Encoder:
        """The encoder with its layers."""
        return self.build()


def encoder_config(encoder: Encoder | LazyEncoder) -> dict[str, Any]:
    """What a checkpoint stores of an encoder: its name and its preprocessing.

    Converted networks and cached features are kept under it too, so an encoder without colours is
    described as it was before there were any.
    """
    preprocessing = asdict(encoder.preprocessing)
    if not preprocessing["colours"]:
        del preprocessing["colours"]
    return {"name": encoder.name, "preprocessing": preprocessing}
