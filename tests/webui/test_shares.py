"""Shares of a queue, worked out by hand."""

from __future__ import annotations

import pytest

from webui.shares import Rota, Visitor, network_of, refusal

ANN, BEN, CAT = Visitor("10.0.0.1", "ann"), Visitor("10.0.0.1", "ben"), Visitor("10.0.0.2", "cat")


@pytest.mark.parametrize(
    ("held", "reason"),
    [
        ([], None),
        ([ANN] * 3, None),
        ([ANN] * 4, "You have 4 requests under way"),
        ([BEN] * 5, None),
        ([ANN] * 2 + [BEN] * 4, "other visitors at your address"),
        ([CAT] * 7, None),
        ([CAT] * 8, "busy with other visitors: try again"),
    ],
)
def test_a_session_gets_half_of_the_places_and_an_address_three_quarters(
    held: list[Visitor], reason: str | None
) -> None:
    given = refusal(ANN, held, places=8)
    assert given is None if reason is None else reason in str(given)


def turns(waiting: list[Visitor], places: int | None = 1) -> list[Visitor]:
    """Who runs in which order, one at a time."""
    rota, order, left = Rota(), [], list(waiting)
    while left:
        chosen = rota.choose(left, [], places)
        assert chosen is not None
        order.append(left.pop(chosen))
    return order


def test_addresses_take_turns_and_so_do_the_sessions_of_one() -> None:
    assert turns([ANN, ANN, ANN, BEN, CAT]) == [ANN, CAT, BEN, ANN, ANN]
    assert turns([ANN] * 50 + [CAT] * 2)[:4] == [ANN, CAT, ANN, CAT]


def test_nobody_runs_more_than_a_share_at_a_time_and_who_has_none_still_may() -> None:
    rota = Rota()
    assert rota.choose([ANN], [ANN] * 3, 8) == 0
    assert rota.choose([ANN], [ANN] * 4, 8) is None
    assert rota.choose([ANN, BEN], [ANN] * 4, 8) == 1
    assert rota.choose([ANN, BEN], [ANN] * 3 + [BEN] * 3, 8) is None
    assert rota.choose([ANN, BEN, CAT], [ANN] * 3 + [BEN] * 3, 8) == 2
    assert rota.choose([ANN], [ANN] * 100, None) == 0


def test_one_place_is_a_share_too() -> None:
    assert refusal(ANN, [], places=1) is None and turns([ANN, CAT]) == [ANN, CAT]


@pytest.mark.parametrize(
    ("address", "network"),
    [
        ("10.0.0.1", "10.0.0.1"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:db8:1:2::9", "2001:db8:1:2::/64"),
        ("", ""),
        ("unix", "unix"),
    ],
)
def test_an_address_of_the_newer_kind_counts_by_its_first_half(address: str, network: str) -> None:
    assert network_of(address) == network
