"""Stated probabilities against what came true."""

from __future__ import annotations

import numpy as np
import pytest

from captioner.metrics.calibration import (
    calibration_table,
    expected_calibration_error,
    risk_coverage,
    split_half_gain,
)


def test_probabilities_that_come_true_as_often_as_stated_have_no_error() -> None:
    stated, true = np.array([0.25] * 4 + [1.0] * 2), np.array([1, 0, 0, 0, 1, 1])
    assert expected_calibration_error(stated, true) == pytest.approx(0)
    assert calibration_table(stated, true) == [(4, 0.25, 0.25), (2, 1.0, 1.0)]


def test_the_error_is_the_mean_distance_over_all_words() -> None:
    stated, true = np.array([0.95] * 3 + [0.05]), np.array([1, 1, 0, 0])
    assert expected_calibration_error(stated, true) == pytest.approx((2.85 - 2 + 0.05) / 4)


def test_surer_captions_are_compared_with_the_others_by_all_their_words() -> None:
    sure = np.array([0.9, 0.1, 0.8, 0.2])
    supported, words = np.array([3, 1, 1, 0]), np.array([3, 4, 2, 1])
    assert split_half_gain(sure, supported, words) == pytest.approx(4 / 5 - 1 / 5)
    curve = risk_coverage(sure, supported, words, (1.0, 0.5))
    assert [(share, least) for share, least, _ in curve] == [(1.0, 0.1), (0.5, 0.8)]
    assert [risk for *_, risk in curve] == pytest.approx([5 / 10, 1 / 5])
