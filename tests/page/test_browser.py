"""The page in a real browser: on a desk and in a hand, by day and by night, by keyboard, and without JavaScript."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from rollout.domain.state import Decision, FlagOverride, Mode, Trigger
from rollout.errors import DatabaseError
from rollout.usecases import reporting, steer
from rollout_render.page import html_report
from tests.page.visits import OPERATE, Served, served
from tests.render.story import NAME
from tests.support.chromium import Browser, Tab, browser, needs_chromium

pytestmark = [pytest.mark.asyncio(loop_scope="module"), *needs_chromium]

AXE = files("axe_core_python").joinpath("axe.min.js").read_text(encoding="utf-8")
SIGN_IN, ALL, ONE, REPORT = "/rollout/sign-in", "/rollout", f"/rollout/r/{NAME}", f"/rollout/r/{NAME}/report"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def chromium() -> AsyncIterator[Browser]:
    async with browser() as started:
        yield started


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def told() -> AsyncIterator[Served]:
    """The whole story, which nobody changes."""
    async with served(told=True) as page:
        yield page


@asynccontextmanager
async def visit(chromium: Browser, page: Served, path: str = ONE, **tab: Any) -> AsyncIterator[Tab]:
    """Somebody who signed in and looks at a page. Nothing may have been complained about at the end."""
    async with chromium.tab(**tab) as found:
        await found.open(page.address(f"{SIGN_IN}?onward={path}"))
        await found.value("document.getElementById('name').focus()")  # the page asks for it, when it is painted
        await found.press("ann", "Tab", OPERATE)
        found.leaving()
        await found.press("Enter")
        await found.loaded()
        assert await found.value("location.pathname") == path
        yield found
        assert found.complaints == []


async def hindrances(tab: Tab, *rules: str) -> list[str]:
    """What axe-core finds that keeps somebody from using the page; by all its rules, or by these."""
    await tab.value(AXE)
    options = json.dumps({"resultTypes": ["violations"], **({"runOnly": rules} if rules else {})})
    found = json.loads(await tab.value(f"axe.run(document, {options}).then(JSON.stringify)"))
    return [
        f"{one['id']} ({one['impact']}): {node['target']} {node['failureSummary']}"
        for one in found["violations"]
        for node in one["nodes"]
    ]


# How it looks


@pytest.mark.parametrize("dark", [False, True], ids=["day", "night"])
@pytest.mark.parametrize("width", [1280, 390])
@pytest.mark.parametrize("path", [ONE, ALL, REPORT])
async def test_nothing_keeps_anybody_from_using_it(
    chromium: Browser, told: Served, path: str, width: int, dark: bool
) -> None:
    async with visit(chromium, told, path, width=width, dark=dark) as tab:
        if path != REPORT:
            await tab.until("document.getElementById('live').textContent === 'live'")
        # What is there does not depend on the light, but for its colours.
        assert await hindrances(tab, *(["color-contrast"] if dark else [])) == []
        assert await tab.value("document.documentElement.scrollWidth") <= width
        dim = await tab.value("getComputedStyle(document.body).backgroundColor.match(/\\d+/g).every(one => one < 60)")
        assert dim is dark


async def test_the_form_to_sign_in_can_be_used_by_everybody(chromium: Browser, told: Served) -> None:
    async with chromium.tab(width=390) as tab:
        await tab.open(told.address(SIGN_IN))
        assert await hindrances(tab) == []
        assert tab.complaints == []
        await tab.value("document.querySelector('label').remove()")
        (missing,) = await hindrances(tab)
        assert missing.startswith("label (critical)")


async def test_the_report_as_a_file_is_the_same_to_everybody(chromium: Browser, told: Served, tmp_path: Path) -> None:
    file = tmp_path / "report.html"
    file.write_text(html_report(await reporting.report(told.backend, NAME)), encoding="utf-8")
    for width, dark in ((1280, False), (390, True)):
        async with chromium.tab(width=width, dark=dark, scripts=False) as tab:
            await tab.open(file.as_uri())
            assert tab.complaints == []
            assert await tab.value("document.documentElement.scrollWidth") <= width
            assert await tab.value("document.querySelectorAll('h1').length") == 1


# How it moves


async def test_it_moves_while_it_is_looked_at(chromium: Browser) -> None:
    async with served() as page, visit(chromium, page) as tab:
        await tab.until("document.getElementById('live').textContent === 'live'")
        await steer.pause(page.backend, NAME, reason="lunch", actor="ben")
        await tab.until("document.getElementById('unit-0').textContent.includes('by a person: lunch')")
        await tab.until("document.getElementById('timeline').textContent.includes('ben')")
        await tab.until("document.querySelector('#acts-0 [value=resume]') !== null")
        await tab.until(f"document.title === '{NAME} – paused'")


async def test_a_form_that_somebody_is_at_stays_and_says_that_it_is_old(chromium: Browser) -> None:
    async with served() as page, visit(chromium, page) as tab:
        await tab.until("document.getElementById('live').textContent === 'live'")
        await tab.value("document.getElementById('reason-0').focus()")
        await tab.press("looks good")
        await steer.promote(page.backend, NAME, force=True, reason="in a hurry", actor="ben")
        await tab.until("!document.querySelector('.changed').hidden")
        assert await tab.value("document.getElementById('reason-0').value") == "looks good"
        tab.leaving()
        await tab.value("document.querySelector('#acts-0 [value=promote]').click()")
        await tab.loaded()
        assert tab.status == 409
        assert "forced: in a hurry ben (person)" in await tab.value("document.querySelector('.notice').textContent")
        assert await tab.value("document.getElementById('reason-0').value") == "looks good"
        assert await hindrances(tab) == []


async def test_what_is_open_stays_open(chromium: Browser, told: Served) -> None:
    async with visit(chromium, told) as tab:
        await tab.until("document.getElementById('live').textContent === 'live'")
        await tab.value("document.querySelector('#timeline summary').focus()")
        await tab.press("Enter")
        await tab.until("document.querySelector('#timeline details').open")
        await tab.value("window.before = document.querySelector('#timeline details')")
        await steer.set_flag(told.backend, NAME, "on", key="bob", reason="me too", actor="ben")
        await tab.until("document.querySelector('#timeline').textContent.includes('me too')")
        assert await tab.value("document.querySelector('#timeline details').open")
        assert await tab.value("document.querySelector('#timeline details') !== window.before")
        assert await tab.value("document.activeElement.tagName") == "SUMMARY"


async def test_it_says_when_it_is_not_live_and_when_it_is_again(chromium: Browser) -> None:
    async with served() as page, visit(chromium, page) as tab:
        await tab.until("document.getElementById('live').textContent === 'live'")
        page.backend.fail_with(DatabaseError("The database went away."))
        await tab.until("document.getElementById('live').textContent === 'not live: The database went away.'")
        assert "soak left" in await tab.value("document.getElementById('unit-0').textContent")
        page.backend.heal()
        await tab.until("document.getElementById('live').textContent === 'live'")


# How it is used


async def test_a_keyboard_is_enough(chromium: Browser) -> None:
    async with served() as page, visit(chromium, page) as tab:
        await tab.press("Tab")
        assert await tab.value("document.activeElement.className") == "skip"
        assert await tab.value("document.activeElement.getBoundingClientRect().left >= 0")
        await tab.press("Enter")
        reached = []
        while (await tab.value("document.activeElement.value")) != "rollback":
            await tab.press("Tab")
            name = await tab.value("document.activeElement.name || document.activeElement.className")
            reached.append(name)
            assert await tab.value("getComputedStyle(document.activeElement).outlineStyle") == "solid"
            if name == "reason":
                await tab.press("INC-42", "Enter")  # is no button: which of them would it be
            assert len(reached) < 20
        assert (await page.backend.state.load()).states[NAME]["orders"].mode is Mode.active
        tab.leaving()
        await tab.press("Space")
        await tab.loaded()
        (newest, *_) = await page.backend.state.decisions(NAME, limit=1)
        assert (newest.action, newest.reason) == ("rollback", "INC-42")
        assert await tab.value("document.querySelector(location.hash).id") == f"decision-{newest.number}"


async def test_without_javascript_it_reads_and_its_forms_post(chromium: Browser) -> None:
    async with served() as page, visit(chromium, page, width=390, scripts=False) as tab:
        assert await tab.value("document.getElementById('live').hidden")
        assert "of the soak left" in await tab.value("document.getElementById('unit-0').textContent")
        for event, mode in (("pause", Mode.paused), ("resume", Mode.active), ("rollback", Mode.rolled_back)):
            await tab.value("document.getElementById('reason-0').focus()")
            await tab.press(f"to {event}")
            tab.leaving()
            await tab.value(f"document.querySelector('#acts-0 [value={event}]').click()")
            await tab.loaded()
            assert tab.status == 200
            assert (await page.backend.state.load()).states[NAME]["orders"].mode is mode
            assert f"to {event}" in await tab.value("document.getElementById('timeline').textContent")


# What it withstands

NASTY = "<script>alert(1)</script><img src=x onerror=alert(1)>\"'/..%2F?#\x1b[31m\x00\u202e\u2066😀{{7*7}}&amp;</p>"
LONG = f"{NASTY} {'y' * 1_000_000}"


async def test_nothing_that_is_recorded_harms_it(chromium: Browser) -> None:
    async with served(branches=(NASTY, "orders")) as page:
        said: dict[str, Any] = {"actor": LONG, "reason": LONG, "trigger": Trigger.person}
        move = {"branch": LONG, "from": LONG, "to": LONG}
        for _ in range(10):
            await page.backend.state.record(Decision(rollout=NAME, action="pause", moves=(move,), **said))
        await page.backend.state.set_flag(FlagOverride(flag=NAME, value="on", key=LONG, reason=LONG, actor=LONG))
        await steer.pause(page.backend, NAME, "orders", reason=LONG, actor=NASTY)
        async with visit(chromium, page, width=390) as tab:
            await tab.until("document.getElementById('live').textContent === 'live'")
            for path in (ONE, ALL, REPORT):
                await tab.open(page.address(path))
                assert tab.status == 200
                assert await tab.value("document.querySelectorAll('img, iframe, object, main main').length") == 0
                assert await tab.value("document.documentElement.outerHTML.length") < 500_000
                assert await tab.value("document.documentElement.scrollWidth") <= 390
                assert not await tab.value("/[\\u202a-\\u202e\\u2066-\\u2069\\x1b]/.test(document.body.innerText)")


async def test_a_rollout_of_any_name_has_its_page(chromium: Browser) -> None:
    name = "a/b?c#d%2F <script>"
    async with served(rollout=name) as page, visit(chromium, page, ALL) as tab:
        tab.leaving()
        await tab.value("document.querySelector('h2 a').click()")
        await tab.loaded()
        assert await tab.value("document.querySelector('h1').textContent") == name
        await tab.until("document.getElementById('live').textContent === 'live'")
        await tab.value("document.getElementById('reason-0').focus()")
        await tab.press("because")
        tab.leaving()
        await tab.value("document.querySelector('#acts-0 [value=pause]').click()")
        await tab.loaded()
        assert tab.status == 200
        assert (await page.backend.state.load()).states[name]["orders"].mode is Mode.paused
