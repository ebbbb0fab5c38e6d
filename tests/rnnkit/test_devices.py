"""Names of devices, and the cache folder."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from rnnkit.cache import cache_folder
from rnnkit.devices import resolve_device
from rnnkit.errors import UserError


def test_auto_is_cuda_where_there_is_one_and_else_the_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    for there, kind in ((True, "cuda"), (False, "cpu")):
        monkeypatch.setattr(torch.cuda, "is_available", lambda there=there: there)
        assert resolve_device("auto").type == kind


def test_the_cpu_is_always_there() -> None:
    assert resolve_device("cpu") == torch.device("cpu")


@pytest.mark.parametrize("name", ["gpu", "", "mps", "cuda:x", "tpu:0", "cuda:-1"])
def test_an_unknown_name_is_refused_and_the_known_ones_named(name: str) -> None:
    with pytest.raises(UserError, match=f"unknown device '{name}': use auto, cpu, cuda or cuda:N"):
        resolve_device(name)


def test_a_device_that_is_not_there_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    assert resolve_device("cuda:0") == torch.device("cuda:0")
    with pytest.raises(
        UserError,
        match=r"'cuda:1' is not available \(torch sees 1 CUDA devices\): use --device cpu",
    ):
        resolve_device("cuda:1")


@pytest.mark.gpu
def test_a_tensor_can_be_put_on_the_device_that_auto_gives() -> None:
    assert torch.zeros(1, device=resolve_device("auto")).is_cuda


def test_the_cache_folder_is_the_one_set_or_the_platforms(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SHOW_AND_SPELL_CACHE", str(tmp_path))
    assert cache_folder() == tmp_path
    for unset in ("", None):
        if unset is None:
            monkeypatch.delenv("SHOW_AND_SPELL_CACHE")
        else:
            monkeypatch.setenv("SHOW_AND_SPELL_CACHE", unset)
        assert "show-and-spell" in str(cache_folder()) and cache_folder().is_absolute()
