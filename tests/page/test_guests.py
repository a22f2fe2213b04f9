"""Tokens, what they buy, and how often somebody may guess."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rollout_page.declared import Page, page_problems
from rollout_page.guests import SESSION_S, Failures, Role, Tokens
from tests.page.visits import BOTH, OPERATE, VIEW

NOW = 1_767_614_400.0
TOKENS = Tokens(BOTH)


@pytest.mark.parametrize(("token", "role"), [(OPERATE, Role.operate), (VIEW, Role.view), ("", None), ("é", None)])
def test_a_token_has_its_role_and_nothing_else_has_one(token: str, role: Role | None) -> None:
    assert TOKENS.role_of(token) is role


def test_a_token_that_is_not_declared_is_nobody_s() -> None:
    assert Tokens(Page(view=VIEW)).role_of("") is None
    assert Tokens(Page()).role_of("") is None


def test_the_longest_name_has_its_session() -> None:
    guest = TOKENS.guest(TOKENS.session(Role.view, "😀" * 60, NOW, "n" * 22), NOW)
    assert guest is not None
    assert guest.name == "😀" * 60


@pytest.mark.parametrize("role", Role)
def test_a_session_is_of_the_role_and_the_name_that_it_was_made_for(role: Role) -> None:
    guest = TOKENS.guest(TOKENS.session(role, "Änn \u202e <b>", NOW, "n"), NOW + 1)
    assert guest is not None
    assert (guest.role, guest.name) == (role, "Änn \u202e <b>")


def test_a_session_ends() -> None:
    cookie = TOKENS.session(Role.operate, "ann", NOW, "n")
    assert TOKENS.guest(cookie, NOW + SESSION_S - 1) is not None
    assert TOKENS.guest(cookie, NOW + SESSION_S) is None


def test_every_process_takes_a_session_and_a_new_token_ends_it() -> None:
    cookie = TOKENS.session(Role.operate, "ann", NOW, "n")
    assert Tokens(BOTH).guest(cookie, NOW) is not None
    assert Tokens(Page(operate="another-token-of-ours", view=VIEW)).guest(cookie, NOW) is None


def test_the_form_of_one_session_is_not_that_of_another() -> None:
    one, other = (TOKENS.guest(TOKENS.session(Role.operate, "ann", NOW, nonce), NOW) for nonce in "ab")
    assert one is not None
    assert other is not None
    assert one.made(one.proof)
    assert not one.made(other.proof)
    assert not one.made("")
    assert not one.made("é\udcff")


@given(st.text(max_size=300))
def test_nobody_gets_in_by_a_made_up_cookie(cookie: str) -> None:
    assert TOKENS.guest(cookie, NOW) is None


@given(st.integers(0, 10_000), st.integers(1, 127))
def test_a_changed_cookie_is_nobody_s(place: int, other: int) -> None:
    cookie = TOKENS.session(Role.view, "ann", NOW, "n")
    at = place % len(cookie)
    changed = f"{cookie[:at]}{chr((ord(cookie[at]) + other) % 128)}{cookie[at + 1 :]}"
    assert (TOKENS.guest(changed, NOW) is None) == (changed != cookie)


def test_after_five_wrong_tokens_a_minute_must_pass() -> None:
    failures = Failures()
    for second in range(5):
        assert failures.wait_s("peer", second) == 0
        failures.note("peer", f"guess {second}", second)
    assert failures.wait_s("peer", 10) == 50
    assert failures.wait_s("another", 10) == 0
    assert failures.wait_s("peer", 60) == 0


def test_the_same_wrong_token_is_one_guess_however_often_it_comes() -> None:
    failures = Failures()
    for second in range(50):
        failures.note("proxy", "a token of the proxy's own", second)
    assert failures.wait_s("proxy", 50) == 0


def test_many_who_guess_are_one_and_are_not_all_remembered() -> None:
    failures = Failures()
    for number in range(5_000):
        failures.note(f"peer-{number}", f"guess {number}", 0.0)
    assert failures.wait_s("somebody new", 1.0) == 59
    assert failures.wait_s("somebody new", 61.0) == 0


@pytest.mark.parametrize(
    ("page", "says"),
    [
        (Page("rollout"), "path is 'rollout'"),
        (Page("/rollout/"), "path is '/rollout/'"),
        (Page("/"), "path is '/'"),
        (Page("/{name}"), "path is '/{name}'"),
        (Page(external_path="/"), "external_path is '/'"),
        (Page(view="short"), "the token view has 5 characters"),
        (Page(operate="with a blank in it, or two"), "the token operate is no printable ASCII text"),
        (Page(operate=None), "the token operate is no printable"),  # type: ignore[arg-type]
        (Page(operate=VIEW, view=VIEW), "view and operate are the same token"),
        (Page(viewers=0), "viewers is 0"),
        (Page(viewers=True), "viewers is True"),
        (7, "7 is no page"),
    ],
)
def test_a_page_that_cannot_be_is_a_mistake_that_tells_no_token(page: object, says: str) -> None:
    (problem,) = page_problems(page)
    assert says in str(problem)
    for secret in ("short", "blank", VIEW):
        assert secret not in str(problem)


def test_a_page_without_mistakes_has_none() -> None:
    assert list(page_problems(BOTH)) == []
    assert OPERATE not in repr(BOTH)
