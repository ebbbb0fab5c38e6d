"""Lets torchvision (and timm, which imports it) load beside a CPU-only torch. Import this module
before either.

torchvision's wheel is built against CUDA torch; beside a CPU build its compiled operators do not
load, and its import then stops at `operator torchvision::nms does not exist`, because Python code
refers to operators that the compiled library would have declared. None of them is used here, so
declaring their names is enough.
"""

from __future__ import annotations

import importlib
import sys

import torch

_SCHEMAS = (
    "nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    "qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
)


def _import_torchvision() -> torch.library.Library | None:
    try:
        importlib.import_module("torchvision")
    except RuntimeError as error:
        if "torchvision::" not in str(error):
            raise
        # The failed import leaves half-initialised submodules behind; they would shadow the second
        # attempt.
        for name in [name for name in sys.modules if name.partition(".")[0] == "torchvision"]:
            del sys.modules[name]
        library = torch.library.Library("torchvision", "DEF")
        for schema in _SCHEMAS:
            library.define(schema)
        importlib.import_module("torchvision")
        return library
    return None


# Kept for the life of the process: the declarations vanish with the object.
_library = _import_torchvision()
