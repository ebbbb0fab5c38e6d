"""Windows of a series: what follows each window is learned, and the last window is continued.

With the window of many lectures, three steps: 1, 2, 3 -> 4. A linear autoregression does what a
line can do, and a recurrent network learns its residuals.
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
PENALTIES = (1e-6, 1e-3, 1e-2, 3e-2, 1e-1)  # of the linear part, of which one is chosen
MAX_STEPS = 100_000  # values of a series


@dataclass(frozen=True)
class ForecastSettings:
    """How the network is built and trained.

    Raises: UserError for a value out of its range.
    """

    cell: str = "gru"
    hidden_size: int = 16
    num_layers: int = 1
    dilations: tuple[int, ...] = (1,)
    networks: int = 2  # their mean is the forecast
    steps: int = 150
    learning_rate: float = 0.005
    weight_decay: float = 0.1
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
        errors: root mean squared errors one step ahead on the last third of the series: of the
            forecast, made from the first two thirds only, of its linear part alone, and of the two
            baselines "the last value again" and "the same season last year". A forecast that does
            not beat them is worth nothing.
        fitted: (count,) what it said of the last third, one step ahead.
        season: steps in a year.
    """

    values: np.ndarray
    errors: dict[str, float]
    fitted: np.ndarray
    season: int


class WindowNetwork(nn.Module):
    """Recurrent layers over a window; the last state gives the residuals of the linear part.

    The network sees each value twice: relative to the window's last value in units of the window's
    spread, and as it is. Untrained, it leaves the linear forecast alone.
    """

    def __init__(self, outputs: int, settings: ForecastSettings) -> None:
        super().__init__()
        s = settings
        self.layers = Stack(s.cell, 2, s.hidden_size, s.num_layers, dilations=s.dilations)
        self.output = nn.Linear(s.hidden_size, outputs)
        nn.init.zeros_(self.output.weight)
        nn.init.zeros_(self.output.bias)

    def forward(self, windows: torch.Tensor) -> torch.Tensor:
        """Scaled windows (N, window) to steps after them, (N, outputs)."""
        spread = windows.std(1, keepdim=True, correction=0).clamp_min(0.05)  # (N, 1)
        x = torch.stack([(windows - windows[:, -1:]) / spread, windows], dim=-1)  # (N, window, 2)
        steps: torch.Tensor = self.output(self.layers(x.transpose(0, 1))[-1]) * spread
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
        season: steps in a year (or another period), for the baseline that repeats the last one.

    Raises: UserError for a series that is too short or has values that are no numbers, or settings
        out of their range.
    """
    values = _checked(series, window, horizon, method, season)
    outputs = horizon if method == "direct" else 1
    cut = len(values) - len(values) // HELD_OUT
    seen = _Forecaster(values[:cut], window, 1, settings)
    windows = _windows(values[cut - window :], window, 1)[0]
    fitted = seen.predict(windows)[:, 0]
    linear = seen.predict(windows, linear_alone=True)[:, 0]
    errors = {
        "forecast": _rmse(fitted, values[cut:]),
        "its linear part alone": _rmse(linear, values[cut:]),
        "the last value again": _rmse(values[cut - 1 : -1], values[cut:]),
    }
    if cut >= season:
        errors["the same season last year"] = _rmse(
            values[cut - season : len(values) - season], values[cut:]
        )
    whole = _Forecaster(values, window, outputs, settings)
    return Forecast(whole.extrapolate(values, horizon), errors, fitted, season)


class _Forecaster:
    """A linear autoregression of a series, and networks that learned its residuals.

    Recurrent networks are poor at what a line does well, and the reverse; together they do better
    (Zhang 2003, Time series forecasting using a hybrid ARIMA and neural network model).
    """

    def __init__(
        self, values: np.ndarray, window: int, outputs: int, settings: ForecastSettings
    ) -> None:
        self.window = window
        self.linear = _chosen_linear(values, window, outputs)
        windows, targets = _windows(self.linear.scale(values), window, outputs)
        residuals = targets - self.linear.predict(windows)
        self.networks = [
            _trained(windows, residuals, settings, settings.seed + number)
            for number in range(settings.networks)
        ]

    def predict(self, windows: np.ndarray, *, linear_alone: bool = False) -> np.ndarray:
        """The steps after some windows, (N, outputs), in the units of the series."""
        scaled = self.linear.scale(windows)
        steps = self.linear.predict(scaled)
        if not linear_alone:
            with torch.inference_mode():
                residuals = torch.stack([network(_tensor(scaled)) for network in self.networks])
            steps = steps + residuals.mean(0).double().numpy()
        return self.linear.unscale(steps)

    def extrapolate(self, values: np.ndarray, horizon: int) -> np.ndarray:
        """The steps after the end of a series, (horizon,); fed back until there are enough."""
        grown = values
        while len(grown) < len(values) + horizon:
            grown = np.concatenate([grown, self.predict(grown[None, -self.window :])[0]])
        return grown[len(values) : len(values) + horizon]


class _Linear:
    """Ridge regression from a window to the steps after it, relative to its last value.

    Args:
        roots: work on square roots, which suits counts and amounts that vary more where they are
            larger; the series must not be negative.
        penalty: of the squared weights.
    """

    def __init__(
        self, values: np.ndarray, window: int, outputs: int, *, roots: bool, penalty: float
    ) -> None:
        self.roots = roots
        known = np.sqrt(values) if roots else values
        self.mean, self.unit = float(known.mean()), float(known.std()) or 1.0
        windows, targets = _windows(self.scale(values), window, outputs)
        x = _with_constant(windows)
        shrink = penalty * len(x) * np.eye(window + 1)
        shrink[-1, -1] = 1e-9
        self.weights = np.linalg.solve(x.T @ x + shrink, x.T @ (targets - windows[:, -1:]))
        # The mean of a square is more than the square of the mean.
        self.excess = (targets - self.predict(windows)).var(0) * self.unit**2 if roots else 0.0

    def scale(self, values: np.ndarray) -> np.ndarray:
        """Values as the linear part and the networks see them."""
        known = np.sqrt(np.maximum(values, 0)) if self.roots else values
        scaled: np.ndarray = (known - self.mean) / self.unit
        return scaled

    def unscale(self, steps: np.ndarray) -> np.ndarray:
        """The reverse, for forecasts."""
        known = steps * self.unit + self.mean
        values: np.ndarray = known**2 + self.excess if self.roots else known
        return values

    def predict(self, windows: np.ndarray) -> np.ndarray:
        """The steps after scaled windows, (N, outputs), scaled."""
        steps: np.ndarray = windows[:, -1:] + _with_constant(windows) @ self.weights
        return steps


def _chosen_linear(values: np.ndarray, window: int, outputs: int) -> _Linear:
    """The linear part whose settings do best, one step ahead, on the last fifth of the series."""
    cut = max(len(values) - len(values) // 5, window + outputs + 2)
    choices = [
        (roots, penalty)
        for roots in ((False, True) if values.min() >= 0 else (False,))
        for penalty in PENALTIES
    ]

    def error(choice: tuple[bool, float]) -> float:
        linear = _Linear(values[:cut], window, 1, roots=choice[0], penalty=choice[1])
        windows, targets = _windows(values[cut - window :], window, 1)
        return _rmse(linear.unscale(linear.predict(linear.scale(windows))), targets)

    roots, penalty = min(choices, key=error)
    return _Linear(values, window, outputs, roots=roots, penalty=penalty)


def _trained(
    windows: np.ndarray, targets: np.ndarray, settings: ForecastSettings, seed: int
) -> WindowNetwork:
    """A network that has learned targets, (N, outputs), from scaled windows, (N, window)."""
    s = settings
    generator = torch.Generator().manual_seed(seed)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = WindowNetwork(targets.shape[1], s)
    optimizer = torch.optim.AdamW(network.parameters(), weight_decay=s.weight_decay)
    x, wanted = _tensor(windows), _tensor(targets)
    for step in range(s.steps):
        rate = warmup_cosine(step, s.steps, peak=s.learning_rate, warmup_steps=s.steps // 20)
        for group in optimizer.param_groups:
            group["lr"] = rate
        indices = torch.randint(len(x), (min(s.batch_size, len(x)),), generator=generator)
        loss = (network(x[indices]) - wanted[indices]).square().mean()
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimizer.step()
    return network.eval()


def _windows(values: np.ndarray, window: int, outputs: int) -> tuple[np.ndarray, np.ndarray]:
    """All windows of a series, (N, window), and the steps after each, (N, outputs)."""
    whole = np.lib.stride_tricks.sliding_window_view(values, window + outputs)
    return whole[:, :window], whole[:, window:]


def _with_constant(windows: np.ndarray) -> np.ndarray:
    return np.hstack([windows, np.ones((len(windows), 1))])


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
