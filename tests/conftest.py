"""What all tests share: one thread, a cache folder of their own, and no GPU test without a GPU."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator

import pytest
import torch
from hypothesis import HealthCheck, settings

# A machine that is busy with something else must not fail a test.
settings.register_profile(
    "any machine", deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("any machine")


@pytest.fixture(scope="session", autouse=True)
def cache_of_this_run(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Leaves the user's cache alone; what one test converts, the next ones find."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SHOW_AND_SPELL_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="session", autouse=True)
def one_thread_for_torch() -> None:
    """Small tensors are slower with more, and sums come out the same on every machine."""
    torch.set_num_threads(1)


@pytest.fixture(scope="session", autouse=True)
def no_waiting_for_the_disk() -> Iterator[None]:
    """What fsync is for, a power cut, cannot be tested; waiting for it makes many tests slow."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda descriptor: None)
        yield


@pytest.fixture(scope="session", autouse=True)
def no_drawing_of_curves() -> Iterator[None]:
    """Small trainings would spend half of their time on metrics.png, which test_runs.py tests."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("rnnkit.runs.draw_curves", lambda records, panels, path: path.touch())
        yield


def pytest_configure(config: pytest.Config) -> None:
    # A shell has what it runs in the background ignore Ctrl-C, and so would the commands that the
    # tests start and interrupt.
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    # OpenVINO's converter traces networks, which torch would rather have done otherwise.
    config.addinivalue_line("filterwarnings", r"ignore:`torch\.jit\.trace:DeprecationWarning")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    if not torch.cuda.is_available():
        for item in items:
            if item.get_closest_marker("gpu"):
                item.add_marker(pytest.mark.skip(reason="needs a CUDA device, and torch sees none"))
