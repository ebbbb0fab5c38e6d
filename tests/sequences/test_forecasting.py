"""Forecasts: what must come out comes out, and the baselines are what they say."""

from __future__ import annotations

import numpy as np
import pytest

from rnnkit.errors import UserError
from sequences.forecasting import ForecastSettings, forecast

QUICK = ForecastSettings(steps=20, networks=1, hidden_size=8)


def test_the_lectures_series_goes_on_one_two_three_four() -> None:
    found = forecast(np.arange(1.0, 31.0), window=3, horizon=3, settings=QUICK)
    assert found.values == pytest.approx([31, 32, 33], abs=0.1)


@pytest.mark.parametrize("method", ["direct", "fed-back"])
def test_a_wave_goes_on_and_beats_both_baselines(method: str) -> None:
    wave = 10 + 3 * np.sin(2 * np.pi * np.arange(100) / 10)
    found = forecast(wave, window=10, horizon=5, method=method, season=7, settings=QUICK)
    expected = 10 + 3 * np.sin(2 * np.pi * np.arange(100, 105) / 10)
    assert found.values == pytest.approx(expected, abs=0.1)
    assert found.errors["forecast"] < 0.5 * min(
        found.errors["the last value again"], found.errors["the same season last year"]
    )


def test_the_baselines_errors_are_those_of_the_last_third() -> None:
    series = np.array([*range(20), *[5.0] * 5, 7.0, 5.0, 5.0, 5.0, 5.0])
    found = forecast(series, window=2, season=1, settings=QUICK)
    steps = np.diff(series)[-10:]
    assert found.errors["the last value again"] == pytest.approx(np.sqrt(np.mean(steps**2)))
    assert found.errors["the same season last year"] == found.errors["the last value again"]
    assert found.fitted.shape == (10,)


def test_the_network_learns_what_a_line_cannot() -> None:
    values = [0.3]  # the logistic map, which looks like noise to a line
    for _ in range(199):
        values.append(3.8 * values[-1] * (1 - values[-1]))
    settings = ForecastSettings(steps=150, networks=1, learning_rate=0.02)
    errors = forecast(values, window=3, settings=settings).errors
    assert errors["forecast"] < 0.5 * errors["its linear part alone"]


def test_a_series_that_never_changes_stays_as_it_is() -> None:
    found = forecast(np.full(30, 4.0), window=3, horizon=2, settings=QUICK)
    assert found.values == pytest.approx([4, 4], abs=0.01)


def test_the_same_seed_gives_the_same_forecast() -> None:
    series = np.random.default_rng(0).normal(size=40)
    first, second = (forecast(series, window=4, settings=QUICK).values for _ in range(2))
    assert np.array_equal(first, second)


@pytest.mark.parametrize(
    ("series", "options"),
    [
        ([1.0, 2.0, 3.0], {}),
        ([1.0, float("nan")] * 50, {}),
        ([1.0] * 50, {"window": 0}),
        ([1.0] * 50, {"horizon": 0}),
        ([1.0] * 50, {"method": "sideways"}),
        ([[1.0]] * 50, {}),
    ],
)
def test_what_cannot_be_forecast_is_refused(
    series: list[float], options: dict[str, object]
) -> None:
    with pytest.raises(UserError):
        forecast(series, **options)  # type: ignore[arg-type]
