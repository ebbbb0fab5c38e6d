"""Turns the name of a device into a torch.device, and gives each training its own accelerator."""

from __future__ import annotations

import torch

from rnnkit.errors import UserError


def forget_accelerator() -> None:
    """Let the next Accelerator of this process choose its own device and precision.

    accelerate keeps the first one's for all that follow, and has no public way to change that.
    """
    from accelerate.state import AcceleratorState  # takes seconds to import

    AcceleratorState._reset_state(reset_partial_state=True)


def resolve_device(name: str = "auto") -> torch.device:
    """The device for a name.

    Args:
        name: "auto" (CUDA where there is one, else CPU), "cpu", "cuda" or "cuda:N".

    Raises: UserError if the name is not one of these or the device is not available.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError:
        device = torch.device("meta")
    if device.type not in ("cpu", "cuda"):
        raise UserError(f"unknown device '{name}': use auto, cpu, cuda or cuda:N")
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        count = torch.cuda.device_count()
        raise UserError(
            f"device '{name}' is not available (torch sees {count} CUDA devices)",
            hint="use --device cpu",
        )
    return device


def cpu_has_bf16() -> bool:
    """Whether this CPU computes in bfloat16; torch's LSTM cannot do without there, its other layers
    can.
    """
    return bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())
