"""The fast one-character step for sampling: what to ask for, and which engine runs it.

torch's recurrent layers lay their weights out anew at every call, which is fine for a chunk and
slow for a character. A stepper lays them out once, from `charlm.inference.folded_weights`, and
keeps the hidden state to itself.
"""

from __future__ import annotations

import importlib.util
import logging
from collections.abc import Callable
from typing import Literal, Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from charlm.inference.folded_weights import fold
from charlm.network import Network
from rnnkit.errors import UserError

logger = logging.getLogger(__name__)
Precision = Literal["auto", "float32", "int8"]


class Stepper(Protocol):
    """Reads one character of each of `batch_size` texts a call; it starts from the zero state."""

    batch_size: int

    def __call__(self, ids: NDArray[np.int64]) -> NDArray[np.float32]:
        """Logits of what follows. ids: (batch,). Returns: (batch, vocabulary), overwritten by the
        next call.
        """
        ...

    def reset(self) -> None:
        """Back to the zero state."""
        ...


def prepare(
    network: Network, batch_size: int = 1, precision: Precision = "auto"
) -> Callable[[], Stepper]:
    """Lay the weights out once; each call of what is returned gives a stepper with a state of its
    own.

    Args:
        network: on the CPU, or on CUDA, where the steps will then run.
        precision: of the recurrent weights. "int8" (one scale a row) runs on CPUs through OpenVINO;
            "auto" is int8 where it runs, else float32.

    Raises: UserError for an unknown precision or one that does not run here.
    """
    device = network.output.weight.device
    has_openvino = device.type == "cpu" and importlib.util.find_spec("openvino") is not None
    if precision not in ("auto", "float32", "int8"):
        raise UserError(f"unknown precision '{precision}': use auto, float32 or int8")
    if precision == "int8" and not has_openvino:
        raise UserError(f"precision int8 needs a CPU and OpenVINO, not {device}: use float32")
    if has_openvino:
        try:
            from charlm.inference.openvino_stepper import compile_step

            return compile_step(fold(network), batch_size, int8=precision != "float32")
        except Exception as error:  # whatever OpenVINO raises on a platform that it does not know
            reason = " ".join(str(error).split())[:200]
            if precision == "int8":
                raise UserError(
                    f"OpenVINO, which precision int8 needs, cannot run here ({reason}): use float32"
                ) from None
            logger.warning("OpenVINO cannot run here (%s); using PyTorch, which is slower", reason)
    from charlm.inference.torch_stepper import TorchStepper

    folded = fold(network)
    return lambda: TorchStepper(folded, batch_size, device)


def next_log_probs(stepper: Stepper, ids: torch.Tensor) -> torch.Tensor:
    """Natural-log probabilities after each character of one text, read by a stepper from the zero
    state.

    Args:
        stepper: of batch size 1.
        ids: (characters,).

    Returns: (characters, vocabulary).
    """
    stepper.reset()
    rows = [torch.from_numpy(stepper(np.array([index])).copy()) for index in ids.tolist()]
    return torch.cat(rows).log_softmax(-1)
