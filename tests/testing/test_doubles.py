"""Time, dice and flags that do as they are told."""

import pytest

from rollout.ports import Clock, FlagAnswer, FlagSource
from rollout.testing import FakeFlags, FixedDice, ManualClock, SystemClock


def test_a_manual_clock_moves_only_when_told() -> None:
    clock: Clock = ManualClock(monotonic=10.0, wall=100.0)
    assert [clock.monotonic(), clock.monotonic(), clock.wall()] == [10.0, 10.0, 100.0]


def test_time_passes_on_both_clocks_and_a_jump_only_moves_the_wall() -> None:
    clock = ManualClock(monotonic=10.0, wall=100.0)
    clock.advance(1.5)
    assert (clock.monotonic(), clock.wall()) == (11.5, 101.5)
    clock.jump_wall(-50)
    assert (clock.monotonic(), clock.wall()) == (11.5, 51.5)


def test_time_does_not_run_backwards() -> None:
    with pytest.raises(ValueError, match=r"jump_wall\(\)"):
        ManualClock().advance(-1)


def test_the_system_clock_is_the_real_one() -> None:
    clock: Clock = SystemClock()
    assert clock.monotonic() <= clock.monotonic()
    assert clock.wall() > 1_700_000_000


def test_scripted_dice_give_their_numbers_over_and_over() -> None:
    dice = FixedDice(0.2, 0.9)
    assert [dice() for _ in range(5)] == [0.2, 0.9, 0.2, 0.9, 0.2]
    assert dice.thrown == 5


def test_seeded_dice_are_the_same_in_every_run() -> None:
    one, same, other = FixedDice(seed=7), FixedDice(seed=7), FixedDice(seed=8)
    numbers = [one() for _ in range(20)]
    assert numbers == [same() for _ in range(20)]
    assert numbers != [other() for _ in range(20)]
    assert all(0 <= number < 1 for number in numbers)


@pytest.mark.parametrize("number", [1.0, -0.1, 7.0])
def test_dice_refuse_a_number_that_no_dice_give(number: float) -> None:
    with pytest.raises(ValueError, match="in \\[0, 1\\)"):
        FixedDice(number)


async def test_flags_answer_for_a_key_then_for_everybody_then_by_default() -> None:
    flags: FlagSource = FakeFlags({"profile": "shadow", ("profile", "alice"): "on"})
    assert flags.peek("profile", "alice") == FlagAnswer("on", "targeting_match")
    assert flags.peek("profile", "bob") == FlagAnswer("shadow", "static")
    assert flags.peek("search", "bob") == FlagAnswer("auto", "default", found=False)
    assert await flags.ask("profile", None, {}) == FlagAnswer("shadow", "static")


async def test_remote_flags_must_be_asked_and_remember_it() -> None:
    flags = FakeFlags({"profile": "on"}, instant=False)
    assert flags.peek("profile", "alice") is None
    assert (await flags.ask("profile", "alice", {})).value == "on"
    assert flags.asked == [("profile", "alice")]


async def test_broken_flags_are_off_until_they_heal() -> None:
    flags = FakeFlags({"profile": "on"})
    flags.break_with("timeout")
    assert await flags.ask("profile", None, {}) == FlagAnswer("off", "timeout")
    flags.heal()
    assert (await flags.ask("profile", None, {})).value == "on"


def test_a_value_that_is_none_of_a_flag_is_refused() -> None:
    with pytest.raises(ValueError, match='"maybe" is no value of a flag'):
        FakeFlags().set("profile", "maybe")
