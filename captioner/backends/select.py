"""Chooses a backend by its name: OpenVINO on a CPU, PyTorch elsewhere."""

from __future__ import annotations

import logging

import torch

from captioner.backends.base import Backend
from captioner.backends.torch_backend import TorchBackend
from captioner.network.encoder import Encoder, LazyEncoder
from rnnkit.checkpoint import weights_hash
from rnnkit.errors import UserError, either

logger = logging.getLogger(__name__)
BACKENDS = ("auto", "torch", "openvino")


def choose_backend(
    name: str,
    encoder: Encoder | LazyEncoder,
    device: torch.device,
    *,
    trained: int = 0,
    weights: str | None = None,
) -> Backend:
    """The backend of that name.

    Args:
        name: auto, torch or openvino. Auto is OpenVINO on a CPU; if that is missing or fails, one
            log line says so and PyTorch is used.
        trained: how many last stages of the encoder to leave out; 0 runs all of it.
        weights: a hash of the weights of encoder and decoder, if the caller knows it; the cache
            keeps converted networks under it.

    Raises: UserError for an unknown name, or for openvino where it cannot run.
    """
    if name not in BACKENDS:
        raise UserError(f"unknown backend '{name}': use {either(BACKENDS)}")
    if name == "openvino" and device.type != "cpu":
        raise UserError(
            "the openvino backend runs on CPUs only", hint="use --device cpu or --backend torch"
        )
    if name == "torch" or device.type != "cpu":
        return TorchBackend(encoder.built, device, trained)
    try:
        # Imported here because this import fails where OpenVINO is missing.
        from captioner.backends.openvino_backend import OpenVinoBackend

        return OpenVinoBackend(
            encoder, trained, weights or weights_hash(encoder.built.state_dict())
        )
    except UserError:  # a fault of the checkpoint, not of OpenVINO
        raise
    except Exception as error:  # OpenVINO may raise anything on a platform that it does not support
        reason = " ".join(str(error).split())[:200]
        if name == "openvino":
            raise UserError(
                f"OpenVINO cannot run here ({reason})", hint="use --backend torch"
            ) from None
        logger.warning("OpenVINO cannot run here (%s); using PyTorch, which is slower", reason)
        return TorchBackend(encoder.built, device, trained)
