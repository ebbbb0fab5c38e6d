"""A GPU that is not there: tensors that say they are on one, for code that no machine here can run.

Operations compute shapes, types and devices only, and one that mixes devices is an error
(torch's FakeTensorMode). Nobody knows the numbers, so questions about them get fixed answers.
Gradients are left out, because autograd wants a real device.
"""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest
import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode
from torch.overrides import TorchFunctionMode

CUDA = torch.device("cuda", 0)


class _Answers(TorchFunctionMode):
    """Whether something holds: yes. What a number is: 1. Which elements are not zero: all."""

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        this = args[0] if args else None
        if func is Tensor.__bool__:
            return True
        if func in (Tensor.item, Tensor.__int__):
            return 1
        if func is Tensor.__float__:
            return 1.0
        if isinstance(this, Tensor):
            if func is Tensor.to and not isinstance(this, FakeTensor):  # moved in earnest otherwise
                return torch.empty_like(this).to(*args[1:], **(kwargs or {}))
            if func is Tensor.tolist:
                return _ones(this.shape)
            if func is Tensor.nonzero:
                places = torch.arange(this.numel(), device=this.device)
                return torch.stack(torch.unravel_index(places, this.shape), dim=1)
            if func is Tensor.__getitem__ and getattr(args[1], "dtype", None) == torch.bool:
                return this.flatten(0, args[1].dim() - 1)
        return func(*args, **(kwargs or {}))


def _ones(shape: Sequence[int]) -> Any:
    return [_ones(shape[1:]) for _ in range(shape[0])] if shape else 1


@contextmanager
def _device_guard() -> Iterator[None]:
    """Slices of a tensor ask for the guard of its device, and torch built without CUDA has none for
    it: the CPU's, which does nothing, stands in.
    """
    if torch.version.cuda is not None:
        yield
        return
    if sys.platform != "linux":
        pytest.skip("torch's registry of devices is called otherwise here")
    library = ctypes.CDLL(str(Path(torch.__file__).parent / "lib" / "libc10.so"))
    # c10::impl::device_guard_impl_registry, by c10::DeviceType: the CPU is 0, CUDA is 1.
    guards = (ctypes.c_void_p * 2).in_dll(library, "_ZN3c104impl26device_guard_impl_registryE")
    before, guards[1] = guards[1], guards[0]
    try:
        yield
    finally:
        guards[1] = before


@contextmanager
def fake_gpu() -> Iterator[None]:
    """Within the block, tensors can be made on `CUDA`, and modules moved there."""
    with _device_guard(), ExitStack() as stack:
        mode = stack.enter_context(FakeTensorMode(allow_non_fake_inputs=True))
        # Small tensors whose numbers are known would be moved in earnest.
        known = mode.fake_tensor_converter.from_real_tensor
        forget = patch.object(
            mode.fake_tensor_converter,
            "from_real_tensor",
            lambda *args, **options: known(*args, **options | {"make_constant": False}),
        )
        stack.enter_context(forget)
        stack.enter_context(torch.inference_mode())
        stack.enter_context(patch.object(nn.Module, "to", _move))
        # Autocast asks for these.
        stack.enter_context(patch("torch.cuda.is_bf16_supported", lambda *_: True))
        stack.enter_context(patch("torch.cuda.amp.common.amp_definitely_not_available", bool))
        stack.enter_context(_Answers())
        yield


def _move(module: nn.Module, *_: object, **__: object) -> nn.Module:
    """Put a module's parameters and buffers on the GPU, those that it shares once."""
    moved: dict[int, Tensor] = {}

    def there(tensor: Tensor) -> Tensor:
        if id(tensor) not in moved:
            copy = torch.empty_like(tensor, device=CUDA)
            is_parameter = isinstance(tensor, nn.Parameter)
            moved[id(tensor)] = nn.Parameter(copy, tensor.requires_grad) if is_parameter else copy
        return moved[id(tensor)]

    for part in module.modules():
        for tensors in (part._parameters, part._buffers):
            for name, tensor in tensors.items():
                if tensor is not None:
                    tensors[name] = there(tensor)  # type: ignore[assignment]
    return module


def without_gradients(module: nn.Module) -> Callable[[Tensor], None]:
    """In place of `Accelerator.backward`: checks where the loss is, and gives each parameter that
    learns a gradient where it is.
    """

    def backward(loss: Tensor) -> None:
        assert loss.device == CUDA and loss.dtype == torch.float32 and loss.dim() == 0
        for parameter in module.parameters():
            if parameter.requires_grad:
                parameter.grad = torch.zeros_like(parameter)

    return backward


def devices(module: nn.Module, optimizer: torch.optim.Optimizer | None = None) -> set[torch.device]:
    """Where a module's tensors, and what an optimiser keeps for each element, are."""
    tensors = [*module.parameters(), *module.buffers()]
    for state in optimizer.state.values() if optimizer is not None else ():
        tensors += [value for value in state.values() if value.dim()]
    return {tensor.device for tensor in tensors}
