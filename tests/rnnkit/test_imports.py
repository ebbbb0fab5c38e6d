"""Libraries whose import needs help: torchvision beside a CPU-only torch, OpenVINO without its
telemetry.
"""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest

import rnnkit


def run_python(code: str, *first_on_the_path: Path) -> subprocess.CompletedProcess[str]:
    path = os.pathsep.join(map(str, [*first_on_the_path, Path(rnnkit.__file__).parents[1]]))
    return subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        check=False,
    )


IMPORTED = """
import rnnkit.torchvision_import, timm
import torchvision.models, torchvision.transforms
print(timm.is_model("tf_efficientnet_lite2"), "resnet18" in torchvision.models.list_models())
"""


def test_timm_and_torchvision_can_be_imported_beside_any_build_of_torch() -> None:
    done = run_python(IMPORTED)
    assert done.stdout.split() == ["True", "True"], done.stderr


FAKE = """
import torch
if not hasattr(torch.ops.torchvision, "nms"):
    raise RuntimeError("{message}")
"""


def test_a_torchvision_without_its_operators_gets_their_names(tmp_path: Path) -> None:
    (tmp_path / "torchvision").mkdir()
    (tmp_path / "torchvision" / "__init__.py").write_text(
        FAKE.format(message="operator torchvision::nms does not exist"), encoding="utf-8"
    )
    done = run_python(
        "import rnnkit.torchvision_import, torch; print(torch.ops.torchvision.nms)", tmp_path
    )
    assert "torchvision.nms" in done.stdout, done.stderr


def test_a_torchvision_that_fails_for_another_reason_says_so(tmp_path: Path) -> None:
    (tmp_path / "torchvision").mkdir()
    (tmp_path / "torchvision" / "__init__.py").write_text(
        FAKE.format(message="the moon is full"), encoding="utf-8"
    )
    done = run_python("import rnnkit.torchvision_import", tmp_path)
    assert done.returncode == 1 and "the moon is full" in done.stderr


@pytest.mark.skipif(
    importlib.util.find_spec("openvino") is None, reason="OpenVINO is not installed"
)
def test_openvino_is_imported_without_its_telemetry() -> None:
    code = (
        "import rnnkit.openvino, openvino, sys; print(sys.modules['openvino_telemetry'],"
        " openvino.Core().available_devices)"
    )
    done = run_python(code)
    assert done.stdout.startswith("None ['CPU'"), done.stderr


INTERRUPTED = """
import gc, signal
import numpy as np
from captioner import Captioner
from charlm.network import Architecture, Network
from charlm.inference.base import prepare

captioner = Captioner.load(device="cpu", backend="openvino")
captioner.caption_pixels(np.zeros((2, 260, 260, 3), np.uint8))
architecture = Architecture(vocabulary_size=5, hidden_size=8, embedding_size=4)
steppers = [prepare(Network(architecture))() for _ in range(2)]
for stepper in steppers:
    stepper(np.zeros(1, np.int64))
del captioner, steppers, stepper
gc.collect()
signal.signal(signal.SIGINT, signal.default_int_handler)
try:
    signal.raise_signal(signal.SIGINT)
except KeyboardInterrupt:
    print("interrupted")
"""


@pytest.mark.skipif(
    importlib.util.find_spec("openvino") is None, reason="OpenVINO is not installed"
)
def test_an_interrupt_after_openvinos_networks_are_gone_does_not_crash_the_process() -> None:
    done = run_python(INTERRUPTED)
    assert (done.returncode, done.stdout.strip()) == (0, "interrupted"), done.stderr
