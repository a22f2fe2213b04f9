"""Faults by header: a good token does what it says, in live and in shadow; any other changes nothing but a count."""

from __future__ import annotations

import asyncio
import base64
import hmac
import json
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from hypothesis import given
from hypothesis import strategies as st

from rollout import Branch, Call, Parts
from rollout.testing import FixedDice, ManualClock, run_virtual, sample_call
from rollout_aiohttp import chaos_branches, chaos_token, handler_branch
from rollout_aiohttp.chaos import ERRORS
from tests.support.apps import CONTROL, profile, served

SECRET = "a secret of sixteen bytes or more"
NOW = 1_767_614_400.0
FAULTS = {"tickets": {"error": "ConnectionError"}}
ALICE = {"X-User-Id": "alice"}
TOKEN = chaos_token(SECRET, FAULTS, now=NOW)


async def fetch(call: Call) -> str:
    return "its own"


TICKETS = Branch("tickets", fetch, part="$.tickets", required=False)


def signed(payload: object, secret: str = SECRET) -> str:
    """A token of anything, rightly signed."""
    raw = payload if isinstance(payload, bytes) else json.dumps(payload).encode()
    text = f"v1.{base64.urlsafe_b64encode(raw).decode().rstrip('=')}"
    return f"{text}.{hmac.new(secret.encode(), text.encode(), 'sha256').hexdigest()}"


def attempt(
    token: str | None,
    branch: Branch = TICKETS,
    *,
    secret: str | bytes | None = SECRET,
    now: float = NOW,
    dice: Callable[[], float] | None = None,
) -> tuple[Any, float, dict[str, int]]:
    """The part, or the class of the error, of one attempt; how long it took; and what was counted."""
    counts: dict[str, int] = {}
    dice = dice or FixedDice(0.5)
    (listening,) = chaos_branches([branch], secret=secret, counts=counts, dice=dice, wall=lambda: now)

    async def main() -> tuple[Any, float, dict[str, int]]:
        headers = {"Accept": "*/*"} if token is None else {"Accept": "*/*", "x-rollout-chaos": token}
        try:
            part = await listening.run(sample_call(headers=headers))
        except Exception as error:
            part = type(error)
        return part, asyncio.get_running_loop().time(), counts

    return run_virtual(main())


# A good token


@pytest.mark.parametrize("name", ERRORS)
def test_each_error_of_the_list_is_raised(name: str) -> None:
    token = chaos_token(SECRET, {"tickets": {"error": name}}, now=NOW)
    assert attempt(token) == (ERRORS[name], 0.0, {"injected": 1})


def test_a_delay_comes_before_the_branch_or_its_error() -> None:
    slow = chaos_token(SECRET, {"tickets": {"delay": 2.0}}, now=NOW)
    assert attempt(slow) == ("its own", 2.0, {"injected": 1})
    failing = chaos_token(SECRET, {"tickets": {"delay": [1, 3], "error": "KeyError"}}, now=NOW)
    assert attempt(failing) == (KeyError, 2.0, {"injected": 1})


def test_a_branch_that_hangs_does_so_until_it_is_cut() -> None:
    async def impatient(call: Call) -> str:
        raise AssertionError("it ran")

    token = chaos_token(SECRET, {"tickets": {"hang": True}}, now=NOW)
    (listening,) = chaos_branches([Branch("tickets", impatient)], secret=SECRET, wall=lambda: NOW)

    async def main() -> float:
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(listening.run(sample_call(headers={"X-Rollout-Chaos": token})), 600)
        return asyncio.get_running_loop().time()

    assert run_virtual(main()) == 600.0


@pytest.mark.parametrize(("thrown", "part", "counts"), [(0.29, KeyError, {"injected": 1}), (0.3, "its own", {})])
def test_the_rate_is_the_share_of_attempts_that_suffer(thrown: float, part: Any, counts: dict[str, int]) -> None:
    token = chaos_token(SECRET, {"tickets": {"error": "KeyError", "rate": 0.3}}, now=NOW)
    assert attempt(token, dice=FixedDice(thrown)) == (part, 0.0, counts)


def test_a_branch_that_the_token_does_not_name_runs_as_ever() -> None:
    assert attempt(TOKEN, Branch("orders", fetch)) == ("its own", 0.0, {})


def test_a_call_without_a_token_runs_as_ever() -> None:
    assert attempt(None) == ("its own", 0.0, {})


def test_a_secret_may_be_bytes_and_a_text_stands_for_its_utf_8() -> None:
    token = chaos_token("schlüssel-schlüssel".encode(), FAULTS, now=NOW)
    assert attempt(token, secret="schlüssel-schlüssel")[0] is ConnectionError


# Any other


@pytest.mark.parametrize(
    ("token", "why"),
    [
        ("", "form"),
        ("v1", "signature"),
        ("v1..", "signature"),
        (TOKEN.replace("v1.", "v2.", 1), "form"),
        (TOKEN + "é", "form"),
        (TOKEN[:-1], "signature"),
        (TOKEN.upper(), "form"),
        (chaos_token("another secret of many bytes", FAULTS, now=NOW), "signature"),
        (TOKEN.ljust(4097, "0"), "size"),
        (signed(b"\xff not json"), "form"),
        (signed(b"[" * 2900), "form"),
        (signed([]), "form"),
        (signed({"faults": FAULTS}), "form"),
        (signed({"faults": [], "expires_at": NOW + 1}), "form"),
        (signed({"faults": FAULTS, "expires_at": "never"}), "expired"),
        (signed({"faults": FAULTS, "expires_at": float("nan")}), "expired"),
        (signed({"faults": {"tickets": {"delay": 1, "fire": 1}}, "expires_at": NOW + 1}), "faults"),
        (signed({"faults": {"tickets": {"error": "SystemExit"}}, "expires_at": NOW + 1}), "faults"),
        (signed({"faults": {"tickets": {"error": ["KeyError"]}}, "expires_at": NOW + 1}), "faults"),
        (signed({"faults": {"tickets": {"delay": float("nan")}}, "expires_at": NOW + 1}), "faults"),
        (signed({"faults": {"tickets": 7}, "expires_at": NOW + 1}), "faults"),
        (signed({"faults": {"tickets": {"delay": 9}, "orders": {"delay": -1}}, "expires_at": NOW + 1}), "faults"),
    ],
)
def test_a_token_that_is_not_right_changes_nothing_and_is_counted(token: str, why: str) -> None:
    assert attempt(token) == ("its own", 0.0, {f"refused:{why}": 1})


@pytest.mark.parametrize("secret", [None, "", b""])
def test_without_a_secret_every_token_is_refused(secret: str | bytes | None) -> None:
    assert attempt(TOKEN, secret=secret) == ("its own", 0.0, {"refused:secret": 1})


def test_a_token_may_be_used_again_until_it_expires_and_not_after() -> None:
    token = chaos_token(SECRET, FAULTS, valid_s=300, now=NOW)
    assert attempt(token, now=NOW)[0] is attempt(token, now=NOW + 299.9)[0] is ConnectionError
    for later in (NOW + 300, NOW + 1e6):
        assert attempt(token, now=later) == ("its own", 0.0, {"refused:expired": 1})


@given(st.integers(0, len(TOKEN) - 1), st.characters(max_codepoint=0x2FF))
def test_no_character_of_a_token_can_be_another(at: int, other: str) -> None:
    forged = TOKEN[:at] + other + TOKEN[at + 1 :]
    assert (attempt(forged)[0] == "its own") is (forged != TOKEN)


@given(st.integers(0, len(TOKEN)), st.integers(0, len(TOKEN)), st.text(max_size=5))
def test_nothing_can_be_put_into_a_token_or_taken_out(start: int, end: int, more: str) -> None:
    forged = TOKEN[:start] + more + TOKEN[end:]
    assert (attempt(forged)[0] == "its own") is (forged != TOKEN)


@given(st.text(max_size=200))
def test_any_text_is_refused(text: str) -> None:
    part, _, counts = attempt(text)
    assert (part, sum(counts.values())) == ("its own", 1)


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=9),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=9), inner, max_size=3),
        max_leaves=9,
    )
)
def test_what_is_signed_but_makes_no_sense_is_refused(faults: object) -> None:
    _, _, counts = attempt(signed({"faults": {"tickets": faults}, "expires_at": NOW + 1}))
    assert list(counts) == ["refused:faults"]


def test_the_log_tells_what_happened_ever_more_rarely_and_never_the_token(caplog: pytest.LogCaptureFixture) -> None:
    (listening,) = chaos_branches([TICKETS], secret=SECRET, wall=lambda: NOW)
    forged = TOKEN[:-1]
    with caplog.at_level(logging.WARNING):
        for _ in range(5):
            run_virtual(listening.run(sample_call(headers={"X-Rollout-Chaos": forged})))  # type: ignore[arg-type]
    events = [getattr(record, "event", "") for record in caplog.records]
    assert events == ["chaos_refused"] * 3  # the 1st, the 2nd and the 4th
    assert "branch tickets: refused:signature; so far 4 times" in caplog.text
    assert forged not in caplog.text
    assert SECRET not in caplog.text


# Mistakes


@pytest.mark.parametrize(
    ("faults", "told"),
    [
        ({}, "name at least one branch"),
        (7, "faults is 7"),
        ({"tickets": {}}, 'branch "tickets": there is no fault in'),
        ({"tickets": {"rate": 0.5}}, "there is no fault in"),
        ({"tickets": {"delay": 1, "part": 1}}, "there is no fault 'part'; use delay, error, hang, rate"),
        ({"tickets": {"delay": 3601}}, "delay is 3601; give seconds from 0 to 3600"),
        ({"tickets": {"delay": [3, 1]}}, "delay is .3, 1."),
        ({"tickets": {"delay": 10**400}}, "delay is 1000"),
        ({"tickets": {"delay": True}}, "delay is True"),
        ({"tickets": {"error": "Exit"}}, "error is 'Exit'; name one of ConnectionError"),
        ({"tickets": {"hang": 1}}, "hang is 1; give true or false"),
        ({"tickets": {"hang": True, "error": "KeyError"}}, "error and hang exclude each other"),
        ({"tickets": {"delay": 1, "rate": 2}}, "rate is 2; give a share"),
        ({f"branch_{number}": {"delay": 1} for number in range(200)}, "at most 4096 are accepted"),
    ],
)
def test_a_token_of_a_mistake_is_not_made(faults: Any, told: str) -> None:
    with pytest.raises(ValueError, match=told):
        chaos_token(SECRET, faults, now=NOW)


@pytest.mark.parametrize("valid_s", [0, -1, float("nan"), float("inf")])
def test_a_token_is_valid_for_a_time_above_nothing(valid_s: float) -> None:
    with pytest.raises(ValueError, match=r"valid_s is .*; give seconds above 0"):
        chaos_token(SECRET, FAULTS, valid_s=valid_s)


@pytest.mark.parametrize(("secret", "told"), [("short", "has 5 bytes"), (b"short", "has 5 bytes"), (7, "of type int")])
def test_a_secret_that_is_none_is_refused_without_being_shown(secret: Any, told: str) -> None:
    for use in (lambda: chaos_token(secret, FAULTS), lambda: chaos_branches([TICKETS], secret=secret)):
        with pytest.raises(ValueError, match=told) as caught:
            use()
        assert "short" not in str(caught.value)


def test_a_mistake_in_the_declaration_is_still_found() -> None:
    wrong: Any = ["no branch", Branch("tickets", 7, part="$.tickets")]  # type: ignore[arg-type]
    problems = profile(*wrong).problems()
    assert problems
    assert chaos_branches(profile(*wrong), secret=SECRET).problems() == problems


# In a server


async def test_live_and_shadow_suffer_alike_and_the_other_branch_does_not(tmp_path: Path) -> None:
    ran: list[tuple[str, bool]] = []

    async def orders(call: Call) -> Any:
        ran.append(("orders", call.is_shadow))
        return [1, 2]

    async def tickets(call: Call) -> Any:
        ran.append(("tickets", call.is_shadow))
        return []

    clock = ManualClock(wall=NOW)
    declared = profile(Branch("orders", orders, part="$.orders"), Branch("tickets", tickets, part="$.tickets"))
    counts: dict[str, int] = {}
    rollout = chaos_branches(declared, secret=SECRET, counts=counts, wall=clock.wall)
    async with served(tmp_path, rollout) as wrapped:
        for shares in ({}, {"orders": 1.0, "tickets": 1.0}):
            wrapped.stand(shares)
            for token in (TOKEN, TOKEN[:-1]):
                headers = {**ALICE, "X-Rollout-Chaos": token}
                async with wrapped.client.get("/profile/7", headers=headers) as response:
                    assert await response.json() == CONTROL
                await wrapped.settled()
        outcomes = [{run.branch: run.outcome for run in trial.runs} for trial in await wrapped.trials()]
    assert counts == {"injected": 2, "refused:signature": 4}
    assert ran.count(("tickets", True)) == ran.count(("tickets", False)) == 1
    assert ran.count(("orders", True)) == ran.count(("orders", False)) == 2
    assert {"orders": "ok", "tickets": "error"} in outcomes


async def test_the_branches_see_the_call_without_the_token(tmp_path: Path) -> None:
    seen: dict[str, tuple[list[str], Any]] = {}

    async def plain(call: Call) -> Any:
        seen["plain"] = (list(call.headers), call.path_params["id"])
        assert call.key == "alice"
        assert call.remaining_s is not None
        assert (await call.form()) == {}
        return [1, 2]

    async def handler(request: web.Request) -> web.Response:
        raw = [name.decode() for name, _ in request.raw_headers]
        seen["handler"] = ([*request.headers, *raw], request.match_info["id"])
        return web.json_response([])

    rollout = profile(
        Branch("plain", plain, part="$.orders"), Branch("handler", handler_branch(handler), part="$.tickets")
    )
    async with served(tmp_path, chaos_branches(rollout, secret=SECRET)) as wrapped:
        wrapped.stand({"plain": 1.0, "handler": 1.0})
        headers = [*ALICE.items(), ("X-Rollout-Chaos", "one"), ("x-rollout-chaos", "two"), ("X-Other", "kept")]
        async with wrapped.client.get("/profile/7", headers=headers) as response:
            assert await response.json() == CONTROL
    assert set(seen) == {"plain", "handler"}
    for names, user in seen.values():
        assert "x-rollout-chaos" not in map(str.lower, names)
        assert ("X-Other" in names, user) == (True, "7")


async def test_a_plain_call_has_no_header_and_runs_as_ever() -> None:
    (listening,) = chaos_branches([TICKETS], secret=SECRET)
    assert await listening.run(Call.of_value({"any": "thing"}).with_(parts=Parts({"a": 1}))) == "its own"
