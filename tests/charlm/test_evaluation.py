"""The two protocols, against a computation of one character at a time."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from charlm import CharLM
from charlm.evaluation import evaluate, score_stream, score_windows
from rnnkit.errors import UserError


def slow_nats(model: CharLM, ids: torch.Tensor, window: int | None) -> float:
    """Each character's -ln p, a network call for each; the state is zero at each window."""
    total, state = 0.0, None
    for index in range(len(ids) - 1):
        if window is not None and index % window == 0:
            state = None
        logits, state = model.network(ids[index].view(1, 1), state)
        total -= logits[0, 0].log_softmax(0)[ids[index + 1]].item()
    return total / (len(ids) - 1)


@pytest.mark.parametrize("characters", [2, 256, 257, 258, 600])
@pytest.mark.parametrize("cell", ["lstm", "gru"])
def test_both_protocols_score_every_character_but_the_first(
    make_model: Callable[..., CharLM], verse: str, cell: str, characters: int
) -> None:
    model = make_model(cell)
    ids = model.vocabulary.encode(verse[:characters])
    with torch.no_grad():
        expected = {"stream": slow_nats(model, ids, None), "window-256": slow_nats(model, ids, 256)}
    scores = evaluate(model.network, ids)
    for name, nats in expected.items():
        assert scores[name].nats_per_char == pytest.approx(nats, abs=1e-5)
        assert scores[name].characters == characters - 1
        assert scores[name].bits_per_char == pytest.approx(nats / 0.6931472, abs=1e-5)


def test_the_length_of_a_call_changes_no_score(
    make_model: Callable[..., CharLM], verse: str
) -> None:
    model = make_model()
    ids = model.vocabulary.encode(verse[:700])
    assert score_stream(model.network, ids, length=33).nats_per_char == pytest.approx(
        score_stream(model.network, ids).nats_per_char, abs=1e-6
    )
    in_threes = score_windows(model.network, ids, window=64, batch_size=3).nats_per_char
    assert in_threes == pytest.approx(
        score_windows(model.network, ids, window=64).nats_per_char, abs=1e-6
    )


def test_a_text_with_nothing_to_predict_is_refused(make_model: Callable[..., CharLM]) -> None:
    with pytest.raises(UserError, match="at least 2"):
        evaluate(make_model().network, torch.zeros(1, dtype=torch.long))
