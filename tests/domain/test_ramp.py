"""The ramp: its stages, its soak times, its freezes, and every mistake in it."""

import json
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rollout.domain.ramp import Ramp, parse_window


def at(text: str) -> float:
    return datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()


def test_a_ramp_is_read() -> None:
    ramp = Ramp.parse("shadow 1% 5% 100%", soak="10m", bake="1h", approve="5% 100%", freeze=["Fri 16:00 - Mon 08:00"])
    assert ramp.stages == (0, 0.01, 0.05, 1)
    assert (ramp.soak_s, ramp.bake_s, ramp.approve, ramp.auto) == (600, 3_600, (0.05, 1), True)
    assert ramp.problems() == []


@pytest.mark.parametrize("text", ["shadow,1%,100%", "shadow → 1% → 100%", "0% 1% 100%", "SHADOW 0.01 1.0"])
def test_a_ramp_may_be_written_in_several_ways(text: str) -> None:
    assert Ramp.parse(text).stages == (0, 0.01, 1)


def test_the_default_ramp_is_without_mistakes() -> None:
    assert Ramp().problems() == []
    assert Ramp().text() == "shadow 1% 5% 25% 50% 100%"
    assert str(Ramp()) == "shadow 1% 5% 25% 50% 100%, soak 10m"


@given(st.lists(st.integers(1, 10_000), min_size=1, max_size=8, unique=True).map(sorted))
def test_the_text_of_a_ramp_is_the_same_ramp(buckets: list[int]) -> None:
    ramp = Ramp(stages=(0.0, *(bucket / 10_000 for bucket in buckets)))
    assert ramp.problems() == []
    assert Ramp.parse(ramp.text()) == ramp


def test_it_survives_json() -> None:
    ramp = Ramp.parse(
        "shadow 1% 100%", soak="1m", bake="2m", approve="1%", freeze=["2026-12-20 - 2027-01-02"], auto=False
    )
    assert Ramp.from_dict(json.loads(json.dumps(ramp.to_dict()))) == ramp


def test_the_last_stage_bakes_and_every_other_soaks() -> None:
    ramp = Ramp.parse("shadow 1% 100%", soak="10m", bake="1h")
    assert [ramp.soak_at(stage) for stage in range(3)] == [600, 600, 3_600]
    assert [ramp.share(stage) for stage in range(3)] == [0, 0.01, 1]
    assert ramp.last == 2
    assert Ramp.parse("shadow 100%", soak="10m").soak_at(1) == 600


# Mistakes


@pytest.mark.parametrize(
    ("ramp", "said"),
    [
        (Ramp.parse("shadow 5% 1%"), "do not rise"),
        (Ramp.parse("shadow 5% 5% 100%"), "do not rise"),
        (Ramp.parse("shadow shadow 5%"), "do not rise"),
        (Ramp.parse("5% 100%"), "must begin with shadow"),
        (Ramp.parse("shadow"), "name at least one share"),
        (Ramp.parse(""), "must begin with shadow"),
        (Ramp.parse("shadow 150%"), "150% is out of range"),
        (Ramp.parse("shadow -5%"), "-5% is out of range"),
        (Ramp.parse("shadow few many"), '"few" is not a share'),
        (Ramp.parse("shadow 5%", soak="soon"), '"soon" is not a duration'),
        (Ramp.parse("shadow 5%", bake="-1s"), '"-1s" is not a duration'),
        (Ramp.parse("shadow 5% 100%", approve="10%"), "approve names 10%"),
        (Ramp.parse("shadow 5% 100%", approve="shadow"), "no live stage"),
        (Ramp.parse("shadow 5%", freeze=["weekend"]), '"weekend" is no freeze window'),
        (Ramp.parse("shadow 5%", freeze=["Foo 16:00 - Mon 08:00"]), "no freeze window"),
        (Ramp.parse("shadow 5%", freeze=["Fri 16:75 - Mon 08:00"]), "no freeze window"),
        (Ramp.parse("shadow 5%", freeze=["Fri 25:00 - Mon 08:00"]), "no freeze window"),
        (Ramp.parse("shadow 5%", freeze=["2026-13-01 - 2027-01-02"]), "no freeze window"),
        (Ramp.parse("shadow 5%", freeze=["2027-01-02 - 2026-12-20"]), "ends before it begins"),
        (Ramp(stages=(0, 2)), "out of range"),
        (Ramp(stages=(0, float("nan"))), "out of range"),
        (Ramp(stages=()), "must begin with shadow"),
        (Ramp(soak_s=-1), "soak_s is -1"),
        (Ramp(soak_s=float("inf")), "soak_s is inf"),
        (Ramp(bake_s=float("nan")), "bake_s is nan"),
    ],
)
def test_a_mistake_is_named_with_what_to_do(ramp: Ramp, said: str) -> None:
    problems = ramp.problems()
    assert [said in problem for problem in problems].count(True) == 1
    assert all("\n" not in problem for problem in problems)


MISTYPED: list[tuple[dict[str, Any], str]] = [
    ({"stages": "shadow 5%"}, "Ramp.parse"),
    ({"stages": ["shadow", "5%"]}, "Ramp.parse"),
    ({"approve": "5%"}, "Ramp.parse"),
    ({"soak_s": "10m"}, "Ramp.parse"),
    ({"soak_s": None}, "soak_s is None"),
    ({"bake_s": "1h"}, "Ramp.parse"),
    ({"freeze": "Fri 16:00 - Mon 08:00"}, 'freeze=["Fri 16:00 - Mon 08:00"]'),
    ({"freeze": [5]}, "no freeze window"),
]


@pytest.mark.parametrize(("fields", "said"), MISTYPED)
def test_a_value_of_the_wrong_type_is_a_mistake_and_no_crash(fields: dict[str, Any], said: str) -> None:
    (problem,) = Ramp(**fields).problems()
    assert said in problem


def test_all_mistakes_are_told_at_once() -> None:
    ramp = Ramp.parse("shadow few 150%", soak="soon", approve="75%", freeze=["weekend", "2027-01-02 - 2026-12-20"])
    assert len(ramp.problems()) == 6


# Freezes


def test_a_weekly_freeze_covers_the_weekend_across_the_turn_of_the_week() -> None:
    ramp = Ramp.parse("shadow 5%", freeze="Fri 16:00 - Mon 08:00")
    end = at("2026-01-12T08:00")  # a Monday
    assert ramp.frozen_until(at("2026-01-09T15:59:59")) is None
    assert ramp.frozen_until(at("2026-01-09T16:00")) == end
    assert ramp.frozen_until(at("2026-01-11T03:00")) == end
    assert ramp.frozen_until(at("2026-01-12T07:59:59")) == end
    assert ramp.frozen_until(at("2026-01-12T08:00")) is None


def test_a_freeze_of_dates_covers_its_start_and_not_its_end() -> None:
    window = parse_window("2026-12-20 - 2027-01-02T12:00")
    end = at("2027-01-02T12:00")
    assert window.end_if_inside(at("2026-12-19T23:59:59")) is None
    assert window.end_if_inside(at("2026-12-20")) == end
    assert window.end_if_inside(at("2027-01-02T11:59")) == end
    assert window.end_if_inside(end) is None


def test_dates_are_of_utc_unless_they_name_their_zone() -> None:
    window = parse_window("2026-12-20T10:00+02:00 .. 2026-12-20T10:00")
    assert (window.start, window.end) == (at("2026-12-20T08:00"), at("2026-12-20T10:00"))


def test_of_several_freezes_the_last_end_counts() -> None:
    ramp = Ramp.parse("shadow 5%", freeze=["2026-12-20 - 2026-12-25", "2026-12-24 - 2027-01-02"])
    assert ramp.frozen_until(at("2026-12-24T12:00")) == at("2027-01-02")


def test_without_a_freeze_nothing_is_frozen() -> None:
    assert Ramp().frozen_until(at("2026-12-24")) is None


@given(st.integers(0, 7 * 24 * 60 - 1), st.integers(0, 7 * 24 * 60 - 1), st.integers(0, 10**5))
def test_a_moment_is_in_a_weekly_window_or_in_its_opposite(start: int, end: int, minute: int) -> None:
    if start == end:
        return

    def text(minutes: int) -> str:
        day, rest = divmod(minutes, 24 * 60)
        return f"{['Mon', 'Tue', 'Wed', 'Thu', 'Fri', 'Sat', 'Sun'][day]} {rest // 60:02d}:{rest % 60:02d}"

    moment = at("2026-01-05") + minute * 60
    inside = parse_window(f"{text(start)} - {text(end)}").end_if_inside(moment)
    outside = parse_window(f"{text(end)} - {text(start)}").end_if_inside(moment)
    assert (inside is None) != (outside is None)
    assert moment < (inside or outside or 0) <= moment + 7 * 86_400
