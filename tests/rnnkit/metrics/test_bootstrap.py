"""Intervals and p-values: right where statistics says what they must be."""

from __future__ import annotations

import numpy as np
import pytest

from rnnkit.metrics.bootstrap import interval, paired_p_value, resample


def mean_of(values: np.ndarray) -> dict[str, np.ndarray]:
    return resample(lambda images: {"mean": float(values[images].mean())}, len(values), 400, seed=0)


def test_draws_of_one_seed_are_of_the_same_images_for_everyone() -> None:
    values = np.random.default_rng(1).normal(size=50)
    np.testing.assert_allclose(mean_of(values)["mean"] + 3, mean_of(values + 3)["mean"])
    other = resample(lambda images: {"mean": float(values[images].mean())}, 50, 400, seed=1)
    assert not np.allclose(other["mean"], mean_of(values)["mean"])


def test_no_draws_are_no_scores() -> None:
    assert resample(lambda images: {"mean": 1.0}, 5, 0, seed=0) == {}


def test_the_interval_leaves_two_and_a_half_percent_on_either_side() -> None:
    assert interval(np.arange(1001.0)) == pytest.approx((25, 975))


def test_equal_captioners_differ_by_chance_alone() -> None:
    assert paired_p_value(0.0, np.zeros(100)) == 1


def test_a_difference_that_every_draw_shows_is_as_unlikely_as_the_draws_can_tell() -> None:
    assert (
        paired_p_value(0.5, 0.5 + np.random.default_rng(0).normal(scale=0.01, size=999)) == 1 / 1000
    )


def test_a_difference_is_as_unlikely_in_either_direction() -> None:
    drawn = np.random.default_rng(0).normal(0.1, 0.1, size=999)
    assert paired_p_value(0.1, drawn) == paired_p_value(-0.1, -drawn)
    assert 0.2 < paired_p_value(0.1, drawn) < 0.45  # one standard deviation: 0.32


def test_captioners_of_one_quality_are_called_different_in_one_of_twenty_tests() -> None:
    generator = np.random.default_rng(3)
    called = 0
    for _ in range(300):
        first, second = generator.normal(size=(2, 80))
        difference = second - first
        called += paired_p_value(float(difference.mean()), mean_of(difference)["mean"]) < 0.05
    assert 4 <= called <= 30  # 15 expected
