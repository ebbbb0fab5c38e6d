"""The fast one-character step for sampling: its protocol, and which backend runs it.

torch's recurrent layers lay out their weights again on each call. That is fine for a chunk, but
slow for a character. A stepper lays them out once and keeps the hidden state to itself.
"""

from __future__ import annotations

import importlib.util
import logging
from collections.abc import Callable
from typing import Literal, Protocol, get_args

import numpy as np
from numpy.typing import NDArray

from charlm.inference.folded_weights import fold_weights
from charlm.network import Network
from rnnkit.errors import UserError

logger = logging.getLogger(__name__)
Precision = Literal["auto", "float32", "int8"]


class Stepper(Protocol):
    """Reads one character of each of `batch_size` texts a call, starting from the zero state."""

    batch_size: int

    def __call__(self, ids: NDArray[np.int64]) -> NDArray[np.float32]:
        """Logits of what follows.

        Args:
            ids: (batch,).

        Returns: (batch, vocabulary); the next call overwrites it.
        """
        ...

    def reset(self) -> None:
        """Return to the zero state."""
        ...


def prepare(
    network: Network, batch_size: int = 1, precision: Precision = "auto"
) -> Callable[[], Stepper]:
    """Lay out the weights once; each call of the result gives a stepper with its own state.

    Args:
        network: on the CPU, or on CUDA, where the steps will then run.
        precision: of the recurrent weights. "int8" (one scale a row) runs on CPUs through OpenVINO;
            "auto" is int8 where it runs, else float32.

    Raises: UserError for an unknown precision or one that does not run here.
    """
    if precision not in get_args(Precision):
        raise UserError(f"precision must be auto, float32 or int8, not '{precision}'")
    device = network.output.weight.device
    if network.architecture.dilations != "1":
        from charlm.inference.network_stepper import NetworkStepper

        if precision == "int8":
            raise UserError("precision int8 is for networks without dilations", hint="use float32")
        return lambda: NetworkStepper(network, batch_size)
    has_openvino = device.type == "cpu" and importlib.util.find_spec("openvino") is not None
    if precision == "int8" and not has_openvino:
        raise UserError(
            f"precision int8 needs a CPU and OpenVINO, not {device}", hint="use float32"
        )
    weights = fold_weights(network)
    if has_openvino:
        try:
            from charlm.inference.openvino_stepper import compile_step

            return compile_step(weights, batch_size, int8=precision != "float32")
        except Exception as error:  # whatever OpenVINO raises on a platform that it does not know
            reason = " ".join(str(error).split())[:200]
            if precision == "int8":
                raise UserError(
                    f"OpenVINO, which precision int8 needs, cannot run here ({reason})",
                    hint="use float32",
                ) from None
            logger.warning("OpenVINO cannot run here (%s); using PyTorch, which is slower", reason)
    from charlm.inference.torch_stepper import TorchStepper

    return lambda: TorchStepper(weights, batch_size, device)
