"""The report as a file in a real browser, with hostile data in every place, everything unfolded."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from importlib.resources import files
from pathlib import Path

import pytest
import pytest_asyncio

from rollout.domain.report import Report
from rollout.usecases import reporting
from rollout_render.page import html_report
from tests.render.hostile import NASTY, dirty
from tests.render.story import NAME, told
from tests.support.chromium import Browser, browser, needs_chromium

pytestmark = [pytest.mark.asyncio(loop_scope="module"), *needs_chromium]

AXE = files("axe_core_python").joinpath("axe.min.js").read_text(encoding="utf-8")
LONG = NASTY + "عربى" + "x" * 1_000


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def chromium() -> AsyncIterator[Browser]:
    async with browser() as started:
        yield started


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def report() -> Report:
    backend, _ = await told()
    return await reporting.report(backend, NAME)


@pytest.mark.parametrize("dark", [False, True], ids=["day", "night"])
@pytest.mark.parametrize("width", [1280, 390])
@pytest.mark.parametrize("hostile", [False, True], ids=["story", "hostile"])
async def test_everybody_can_read_it_whatever_is_in_it(
    chromium: Browser, report: Report, tmp_path: Path, hostile: bool, width: int, dark: bool
) -> None:
    file = tmp_path / "report.html"
    file.write_text(html_report(dirty(report, LONG) if hostile else report), encoding="utf-8")
    async with chromium.tab(width=width, dark=dark, scripts=False) as tab:
        await tab.open(file.as_uri())
        assert await tab.value("document.title") != ""
        await tab.value("document.querySelectorAll('details').forEach(one => one.open = true)")
        assert await tab.value("document.documentElement.scrollWidth") <= width
        assert await tab.value("document.querySelectorAll('article script, article img, article a').length") == 0
        assert await tab.value("document.querySelectorAll('article mark').length") > 0
        assert tab.complaints == []


@pytest.mark.parametrize("dark", [False, True], ids=["day", "night"])
@pytest.mark.parametrize("width", [1280, 390])
async def test_nothing_keeps_anybody_from_using_what_is_folded(
    chromium: Browser, report: Report, tmp_path: Path, width: int, dark: bool
) -> None:
    file = tmp_path / "report.html"
    file.write_text(html_report(report), encoding="utf-8")
    async with chromium.tab(width=width, dark=dark) as tab:
        await tab.open(file.as_uri())
        await tab.value("document.querySelectorAll('details').forEach(one => one.open = true)")
        await tab.value(AXE)
        found = json.loads(await tab.value('axe.run({resultTypes: ["violations"]}).then(JSON.stringify)'))
        assert [(one["id"], [node["html"] for node in one["nodes"]]) for one in found["violations"]] == []


async def test_what_differs_can_be_searched_and_opened_at_once(
    chromium: Browser, report: Report, tmp_path: Path
) -> None:
    file = tmp_path / "report.html"
    file.write_text(html_report(report), encoding="utf-8")
    shown = "[...document.querySelectorAll('.tree .leaf')].filter(one => one.offsetParent !== null).length"
    async with chromium.tab(width=390) as tab:
        await tab.open(file.as_uri())
        every = await tab.value(shown)
        assert every > 1
        await tab.value("document.querySelector('.tools input').focus()")
        for key in "STATE":
            await tab.press(key)
        assert 0 < await tab.value(shown) < every
        assert "of" in await tab.value("document.querySelector('.tools [role=status]').textContent")
        await tab.value("document.querySelector('.tools input').value = ''")
        await tab.value("document.querySelector('.tools input').dispatchEvent(new Event('input'))")
        assert await tab.value(shown) == every
        for opened in (True, False):
            await tab.value("document.querySelector('.tools button').click()")
            assert await tab.value("[...document.querySelectorAll('.tree details')].every(one => one.open)") == opened
        assert await tab.value("document.documentElement.scrollWidth") <= 390
        assert tab.complaints == []
