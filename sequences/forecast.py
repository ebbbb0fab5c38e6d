"""Windows of a series: a recurrent network learns what comes after each window of a series, and
goes on from the last one. With the window of many lectures, three steps: 1, 2, 3 -> 4.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from rnnkit.errors import UserError
from rnnkit.layers import Stack
from rnnkit.schedules import warmup_cosine

HELD_OUT = 3  # the last third is forecast one step ahead, by a network that has not seen it
METHODS = ("direct", "fed-back")
MAX_STEPS = 100_000  # values of a series


@dataclass(frozen=True)
class ForecastSettings:
    """How the network is built and trained.

    Raises: UserError for a value out of its range.
    """

    cell: str = "gru"
    hidden_size: int = 32
    num_layers: int = 1
    dilations: tuple[int, ...] = (1,)
    networks: int = 3  # their mean is the forecast
    steps: int = 300
    learning_rate: float = 0.01
    weight_decay: float = 0.01
    batch_size: int = 256
    seed: int = 1

    def __post_init__(self) -> None:
        for name in ("hidden_size", "num_layers", "networks", "steps", "batch_size"):
            if getattr(self, name) < 1:
                raise UserError(f"{name} must be at least 1, not {getattr(self, name)}")


@dataclass(frozen=True)
class Forecast:
    """What comes next, and how far it can be trusted.

    Attributes:
        values: (horizon,).
        errors: root mean squared errors one step ahead on the last third of the series, of the
            network, which then knew the first two thirds only, and of the two rivals: "the last
            value again" and "the same season last year". A forecast that does not beat them is
            worth nothing.
        fitted: (count,) what the network said of the last third, one step ahead.
        season: steps in a year.
    """

    values: np.ndarray
    errors: dict[str, float]
    fitted: np.ndarray
    season: int


class WindowNetwork(nn.Module):
    """Recurrent layers over a window; the last state gives the steps after it.

    The network sees a window relative to its last value and in units of its spread, and gives
    differences to that value. So an untrained one says "the last value again".
    """

    def __init__(self, horizon: int, settings: ForecastSettings) -> None:
        super().__init__()
        s = settings
        self.layers = Stack(s.cell, 1, s.hidden_size, s.num_layers, dilations=s.dilations)
        self.output = nn.Linear(s.hidden_size, horizon)
        nn.init.zeros_(self.output.weight)
        nn.init.zeros_(self.output.bias)

    def forward(self, windows: torch.Tensor) -> torch.Tensor:
        """Scaled windows (N, window) to scaled steps (N, horizon)."""
        steps: torch.Tensor = self.output(self.layers(windows.T[:, :, None])[-1])
        return steps


def forecast(
    series: Sequence[float] | np.ndarray,
    window: int = 24,
    horizon: int = 1,
    *,
    method: str = "direct",
    season: int = 12,
    settings: ForecastSettings = ForecastSettings(),
) -> Forecast:
    """Train on a series and say what comes next.

    Args:
        series: values at equal steps of time.
        window: how many values the network sees at once.
        horizon: how many values it gives.
        method: "direct" learns all of them from one window; "fed-back" learns the next one, and is
            fed its own forecasts.
        season: steps in a year (or another period), for the rival that repeats the last one.

    Raises: UserError for a series that is too short or has values that are no numbers, or settings
        out of their range.
    """
    values = _checked(series, window, horizon, method, season)
    outputs = horizon if method == "direct" else 1
    cut = len(values) - len(values) // HELD_OUT
    seen = _Forecaster(values[:cut], window, 1, settings)
    fitted = seen.ahead(np.stack([values[at - window : at] for at in range(cut, len(values))]))[
        :, 0
    ]
    errors = {
        "network": _rmse(fitted, values[cut:]),
        "the last value again": _rmse(values[cut - 1 : -1], values[cut:]),
    }
    if cut >= season:
        errors["the same season last year"] = _rmse(
            values[cut - season : len(values) - season], values[cut:]
        )
    whole = _Forecaster(values, window, outputs, settings)
    return Forecast(whole.go_on(values, horizon), errors, fitted, season)


class _Forecaster:
    """Some networks that were trained on one series."""

    def __init__(
        self, values: np.ndarray, window: int, outputs: int, settings: ForecastSettings
    ) -> None:
        self.window = window
        self.unit = float(values.std()) or 1.0  # so that losses are of the same size everywhere
        count = len(values) - window - outputs + 1
        windows = np.stack([values[at : at + window] for at in range(count)])
        targets = np.stack([values[at + window : at + window + outputs] for at in range(count)])
        self.networks = [
            self._trained(windows, targets, settings, settings.seed + number)
            for number in range(settings.networks)
        ]

    def _trained(
        self, windows: np.ndarray, targets: np.ndarray, settings: ForecastSettings, seed: int
    ) -> WindowNetwork:
        s = settings
        generator = torch.Generator().manual_seed(seed)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            network = WindowNetwork(targets.shape[1], s)
        optimizer = torch.optim.AdamW(network.parameters(), weight_decay=s.weight_decay)
        last, spread = self._scale(windows)
        x = _tensor((windows - last) / spread)
        weight, wanted = _tensor(spread / self.unit), _tensor((targets - last) / self.unit)
        for step in range(s.steps):
            for group in optimizer.param_groups:
                group["lr"] = warmup_cosine(
                    step, s.steps, peak=s.learning_rate, warmup_steps=s.steps // 20
                )
            places = torch.randint(len(x), (min(s.batch_size, len(x)),), generator=generator)
            # The squared error in the series's own units, which is what is judged.
            loss = (network(x[places]) * weight[places] - wanted[places]).square().mean()
            optimizer.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
            optimizer.step()
        return network.eval()

    def ahead(self, windows: np.ndarray) -> np.ndarray:
        """The steps after some windows, (N, outputs)."""
        last, spread = self._scale(windows)
        x = _tensor((windows - last) / spread)
        with torch.inference_mode():
            steps = torch.stack([network(x) for network in self.networks]).mean(0).double().numpy()
        ahead: np.ndarray = last + steps * spread
        return ahead

    def go_on(self, values: np.ndarray, horizon: int) -> np.ndarray:
        """The steps after the end of a series, (horizon,); fed back until there are enough."""
        grown = values
        while len(grown) < len(values) + horizon:
            grown = np.concatenate([grown, self.ahead(grown[None, -self.window :])[0]])
        return grown[len(values) : len(values) + horizon]

    def _scale(self, windows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The last value and the spread of each window, (N, 1) each."""
        spread = windows.std(1, keepdims=True)
        return windows[:, -1:], np.maximum(spread, 0.05 * self.unit)


def _checked(
    series: Sequence[float] | np.ndarray, window: int, horizon: int, method: str, season: int
) -> np.ndarray:
    values = np.asarray(series, dtype=np.float64)
    if method not in METHODS:
        raise UserError(f"method must be {' or '.join(METHODS)}, not '{method}'")
    for name, value in (("window", window), ("horizon", horizon), ("season", season)):
        if value < 1:
            raise UserError(f"{name} must be at least 1, not {value}")
    if values.ndim != 1 or not np.isfinite(values).all():
        raise UserError("a series must be a list of numbers, without gaps")
    if len(values) > MAX_STEPS:
        raise UserError(f"a series may have {MAX_STEPS:,} values, not {len(values):,}")
    needed = (window + horizon + 8) * HELD_OUT // (HELD_OUT - 1) + 1
    if len(values) < needed:
        raise UserError(
            f"a series of {len(values)} values is too short for a window of {window} and a horizon"
            f" of {horizon}: it needs {needed}",
            hint="use a smaller --window or --horizon",
        )
    return values


def _rmse(found: np.ndarray, wanted: np.ndarray) -> float:
    return float(np.sqrt(np.mean((found - wanted) ** 2)))


def _tensor(values: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(values.astype(np.float32))
