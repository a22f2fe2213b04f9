"""``whatif``: what is shown of a prediction, as a table, as JSON and as a page, and what cannot be asked."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path
from random import Random

import pytest

from rollout.domain.state import BranchPolicy
from rollout.ports import RunRecord, TrialRecord
from rollout.testing import sample_batch, sample_policy, sample_trial
from rollout_render.doors import Exit
from rollout_sql import open_backend
from tests.cli.conftest import Run, parsed

CALLS = 400
PARTS = {"orders": 0.06, "tickets": 0.09, "offers": 0.07}
SOFT = ("--soft-timeout", "tickets=80ms")


@pytest.fixture(scope="module")
def shop_url(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A database with calls of a shop, whose tickets are slow and cost money; ``advice`` never ran."""
    url = f"sqlite:///{tmp_path_factory.mktemp('shop') / 'shop.db'}"

    async def fill() -> None:
        backend = await open_backend(url, migrate=True)
        branches = [
            BranchPolicy(name=name, unit=name, salt=name, part=f"$.{name}", required=name == "orders")
            for name in (*PARTS, "advice")
        ]
        branches[-1] = replace(branches[-1], after=("tickets",))
        await backend.state.register(sample_policy("shop", branches=branches), "p1")
        await backend.ledger.append(sample_batch(*(trial(number) for number in range(1, CALLS + 1))))
        await backend.close()

    asyncio.run(fill())
    return url


def trial(number: int) -> TrialRecord:
    dice = Random(number)
    runs = [
        RunRecord(name, "shadow", "ok", middle * dice.lognormvariate(0, 0.4), cost_nano=1_000_000 * (name == "tickets"))
        for name, middle in PARTS.items()
    ]
    return sample_trial(number, rollout="shop", at=1_767_614_400.0 + number, control_s=0.05, runs=runs)


@pytest.fixture
def ask(run: Run, shop_url: str, monkeypatch: pytest.MonkeyPatch) -> Run:
    """``ask("--drop", "tickets")`` of the shop."""
    monkeypatch.setenv("ROLLOUT_DATABASE_URL", shop_url)
    return lambda *words, **options: run("whatif", "shop", *words, **options)


def test_the_answer_comes_first_then_every_figure_beside_what_is_in_force(ask: Run) -> None:
    shown = ask(*SOFT, "--drop", "offers").stdout
    assert "what-if shop  soft timeout tickets 80ms · without offers" in shown
    assert "400 shadow calls" in shown
    assert shown.index("; complete ") < shown.index("users p50")
    for name in ("users p95", "fan-out p99", "complete", "tokens a call", "cost a call", "differ", "fall back"):
        assert f"  {name} " in shown
    assert "points" in shown


def test_the_frontier_is_a_table_and_two_plots(ask: Run) -> None:
    shown = ask().stdout
    assert "Soft timeouts worth having" in shown
    assert shown.count("└─") == 2
    assert "as it is" in shown


def test_what_is_not_known_is_told_with_what_to_record(ask: Run) -> None:
    shown = ask("--soft-timeout", "advice=50ms").stdout
    assert "Unknown: the records cannot speak for it." in shown
    assert "→ Let advice run in shadow for a while, and ask again." in shown
    unheard = ask("--confidence", "advice=80%").stdout
    assert "→ Let advice run in shadow" in unheard


def test_json_has_every_figure_with_its_interval(ask: Run) -> None:
    found = parsed(ask(*SOFT, "-o", "json"))
    p95 = found["predicted"]["user"]["p95"]
    assert p95["low"] <= p95["value"] <= p95["high"] < found["in_force"]["user"]["p95"]["value"]
    assert found["setting"]["soft_s"] == {"tickets": 0.08}
    assert found["absent"] == ["advice"]
    assert found["frontier"]["points"]


def test_a_page_stands_alone_and_shows_each_point_in_both_drawings(ask: Run, tmp_path: Path) -> None:
    assert "written to" in ask(*SOFT, "--html", "page.html").stderr
    page = (tmp_path / "page.html").read_text()
    assert page.startswith("<!doctype html>")
    assert page.count("<svg") == 2
    assert page.count("<circle") == 2 * page.count('data-l="Point"') > 4
    assert "<title>a, " in page, "a dot says what it is"
    assert "<script" not in page
    assert "soft timeout tickets 80ms" in page


@pytest.mark.parametrize("columns", [80, 120])
def test_every_screen_fits_its_terminal_and_nothing_is_cut(ask: Run, columns: int) -> None:
    for words in ((), SOFT, ("--drop", "tickets", "--live"), ("--soft-timeout", "advice=50ms")):
        shown = ask(*words, env={"COLUMNS": str(columns)}).stdout
        assert max(map(len, shown.splitlines())) <= columns
        assert "…" not in shown
        assert "\x1b" not in shown


def test_only_so_many_trials_are_read_as_are_wanted(ask: Run) -> None:
    assert "the newest 100 of 400 stored trials" in ask("--most", "100", env={"COLUMNS": "120"}).stdout


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("--soft-timeout", "tickets"), 'write for example "tickets=200ms"'),
        (("--soft-timeout", "tickets=soon"), "soon"),
        (("--confidence", "advice=3"), "0% and 100%"),
        ((*SOFT, "--soft-timeout", "tickets=1s"), "--soft-timeout names tickets twice"),
        (("--soft-timeout", "tickets=nan"), "nan"),
        (("--drop", "ticket"), 'Did you mean "tickets"?'),
        (("--soft-timeout", "orders=50ms"), "orders is required"),
        (("--hard-timeout", "tickets=-1s"), "-1s"),
        (("--most", "0"), "--most"),
    ],
)
def test_what_cannot_be_asked_is_told_with_the_remedy(ask: Run, words: tuple[str, ...], told: str) -> None:
    result = ask(*words)
    assert result.exit_code in (Exit.usage, Exit.failure)
    assert told in result.stderr
    assert "Traceback" not in result.stderr


def test_without_a_trial_it_says_what_to_do(run: Run, tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'empty.db'}"

    async def register() -> None:
        backend = await open_backend(url, migrate=True)
        await backend.state.register(sample_policy("shop"), "p1")
        await backend.close()

    asyncio.run(register())
    result = run("whatif", "shop", "--database-url", url)
    assert result.exit_code == Exit.failure
    assert "No trial of shop is stored in that time. Let it run in shadow for a while" in result.stderr
