"""Where the arithmetic runs: one name in, one torch.device out, checked; and each training with its
own.
"""

from __future__ import annotations

import torch

from rnnkit.errors import UserError


def forget_accelerator() -> None:
    """Let this process's next Accelerator take its own device and precision: accelerate keeps the
    first one's for all that follow.
    """
    from accelerate.state import (
        AcceleratorState,
    )  # takes seconds to import, which only training has

    AcceleratorState._reset_state(reset_partial_state=True)


def resolve_device(name: str = "auto") -> torch.device:
    """The device for a name.

    Args:
        name: "auto" (CUDA where there is one, else CPU), "cpu", "cuda" or "cuda:N".

    Raises: UserError if the name is not one of these or the device is not there.
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
        raise UserError(
            f"device '{name}' is not there: torch sees {torch.cuda.device_count()} CUDA devices;"
            " use --device cpu"
        )
    return device
