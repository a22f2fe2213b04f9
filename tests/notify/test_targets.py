"""What may be declared, and that no mistake, name or print of it shows a secret."""

from __future__ import annotations

from typing import Any

import pytest

from rollout_notify import Slack, Webhook, problems_of
from rollout_notify.targets import place_of
from tests.notify.told import HOOK, SECRET

URL = "https://hooks.example/services/T0/B0/token"


def mistakes(*targets: Any) -> list[str]:
    return [str(problem) for problem in problems_of(targets)]


@pytest.mark.parametrize(
    "url", [URL, "http://localhost:8080/x", "https://[::1]:9/x?y=%20z", "https://größe.example/", "https://x.example"]
)
def test_an_address_of_the_web_is_right(url: str) -> None:
    assert not mistakes(Slack(url), Webhook(url, secret=SECRET), Webhook(url, secret=b"0" * 16, name="b"))


@pytest.mark.parametrize(
    ("url", "says"),
    [
        (None, "its address is missing"),
        (7, "its address is a int"),
        ("", "its address is none of the web"),
        ("hooks.example/token", "its address is none of the web"),
        ("ftp://hooks.example/token", "its address is none of the web"),
        ("file:///etc/token", "its address is none of the web"),
        ("https:///token", "its address is none of the web"),
        ("https://hooks.example:0/token", "its address is none of the web"),
        ("https://hooks.example:99999/token", "its address cannot be read"),
        ("https://[::1/token", "its address cannot be read"),
        (f"{URL}\n", "its address has a blank or a control character in it"),
        ("https://hooks.example/to ken", "its address has a blank or a control character in it"),
        ("https://hooks.example/\x00token", "its address has a blank or a control character in it"),
        ("https://ann:token@hooks.example/", "its address has a user in it"),
    ],
)
def test_any_other_address_is_a_mistake_and_not_shown(url: Any, says: str) -> None:
    (found,) = mistakes(Slack(url))
    assert says in found
    assert found.startswith('notify "slack": ')
    assert "token" not in found


@pytest.mark.parametrize(
    ("secret", "says"),
    [
        (None, "there is no secret"),
        ("", "there is no secret"),
        ("short", "less than 16 bytes"),
        (b"0" * 15, "less than"),
        (7, "less than"),
    ],
)
def test_a_secret_that_protects_nothing_is_a_mistake_and_not_shown(secret: Any, says: str) -> None:
    (found,) = mistakes(Webhook(URL, secret=secret))
    assert says in found
    assert "short" not in found


def test_every_mistake_is_found_at_once() -> None:
    found = mistakes(Slack("x", name="a b"), Webhook(None, secret=""), "https://hooks.example", HOOK, HOOK)  # type: ignore[arg-type]
    assert [line.partition(" →")[0] for line in found] == [
        "notify: it holds a str",
        "notify: the name of a target is 'a b'",
        'notify "a b": its address is none of the web',
        'notify "webhook": its address is missing',
        'notify "webhook": there is no secret',
        'notify: two targets are called "webhook"',
    ]


@pytest.mark.parametrize("given", [None, URL, Slack(URL), 7])
def test_what_is_no_list_is_a_mistake(given: Any) -> None:
    (found,) = problems_of(given)
    assert "not a list of targets" in str(found)
    assert "token" not in str(found)


def test_what_is_printed_shows_no_secret() -> None:
    assert repr([HOOK, Slack(URL)]) == "[Webhook(name='webhook'), Slack(name='slack')]"


def test_the_place_of_an_address_is_all_that_is_shown() -> None:
    assert place_of("https://hooks.example:8443/services/token?key=token#token") == "https://hooks.example:8443"
