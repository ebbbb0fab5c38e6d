"""What every training loop here needs: processes and devices, parameter groups, a moving average of
the weights, and an orderly stop.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import torch
from accelerate import Accelerator, DistributedDataParallelKwargs, InitProcessGroupKwargs
from rich.console import Console
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from rnnkit.devices import forget_accelerator

TensorList = list[Tensor] | tuple[Tensor, ...]


def start_accelerator(
    device: torch.device, mixed_precision: str, *, unused_parameters: bool = False
) -> Accelerator:
    """Processes, device and mixed precision, as `torchrun` or `accelerate launch` set them up.

    Args:
        device: cpu, cuda or cuda:N; under torchrun each process takes a GPU of its own.
        mixed_precision: "no" or "bf16".
        unused_parameters: some parameters may get no gradient, which DistributedDataParallel has to
            know.
    """
    if device.type == "cuda" and device.index is not None:
        torch.cuda.set_device(device)
    # While the main process validates, the others wait; with torch's default they would give up
    # after ten or thirty minutes.
    patience = InitProcessGroupKwargs(timeout=timedelta(days=1))
    unused = DistributedDataParallelKwargs(find_unused_parameters=unused_parameters)
    forget_accelerator()
    return Accelerator(
        cpu=device.type == "cpu",
        mixed_precision=mixed_precision,
        kwargs_handlers=[patience, unused],
    )


def leave_together(accelerator: Accelerator) -> None:
    """End training once every process has got here, so that none closes a connection in use."""
    accelerator.wait_for_everyone()
    accelerator.end_training()


def weight_decay_groups(
    module: nn.Module, weight_decay: float, **more: Any
) -> list[dict[str, Any]]:
    """An optimiser's parameter groups: matrices decay, biases and norms do not.

    Args:
        more: further entries for each group.
    """
    learned = [parameter for parameter in module.parameters() if parameter.requires_grad]
    matrices = [parameter for parameter in learned if parameter.dim() > 1]
    vectors = [parameter for parameter in learned if parameter.dim() <= 1]
    groups = [
        {"params": matrices, "weight_decay": weight_decay, **more},
        {"params": vectors, "weight_decay": 0.0, **more},
    ]
    return [group for group in groups if group["params"]]


def moving_average(module: nn.Module, decay: float) -> AveragedModel:
    """An exponential moving average of a module's weights, to be validated and kept.

    After update n the decay is at most (1 + n) / (10 + n), so that a young run soon forgets its
    random start. Call `update_parameters(module)` after each step; `.module` has the average.
    """

    def update(kept: TensorList, new: TensorList, updates: Tensor | int) -> None:
        count = int(updates)
        get_ema_multi_avg_fn(min(decay, (1 + count) / (10 + count)))(kept, new, count)

    average = AveragedModel(module, multi_avg_fn=update)
    return average.requires_grad_(False).eval()


@contextmanager
def stop_requests(console: Console) -> Iterator[threading.Event]:
    """An event that Ctrl-C or SIGTERM sets, so that training stops between two steps; a second
    Ctrl-C stops at once.
    """
    event = threading.Event()

    def ask(number: int, frame: object) -> None:
        if event.is_set():
            raise KeyboardInterrupt
        event.set()
        console.print("stopping after this step, to save the run")

    if threading.current_thread() is not threading.main_thread():
        yield event
        return
    before = {number: signal.signal(number, ask) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield event
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
