"""The whole demo: what it promises happens, is told in 80 columns, and its exit code says so."""

import io
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from math import inf, log
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from rollout.domain.bound import bound_of
from rollout.domain.gates import Finding, Grade
from rollout.domain.sequential.part import LOG_PROMOTE
from rollout.engine.declared import policy_of
from rollout_demo import main
from rollout_demo.audit import Move, Unmet
from rollout_demo.fanout import Pace, rollout
from rollout_demo.narrator import Narrator, odds
from rollout_demo.story import Story

SHORT = Pace("shadow 25% 100%", "0s", harm="10%")
ODDS = r"[\d,⁰¹²³⁴⁵⁶⁷⁸⁹]+:1"
DEMO = "import sys; from rollout_demo.main import run; sys.exit(run(database_url=(sys.argv[1:] or [None])[0]))"


def narrator() -> tuple[Narrator, io.StringIO]:
    told = io.StringIO()
    return Narrator(Console(file=told, width=80, highlight=False)), told


async def test_a_short_telling_has_every_chapter(tmp_path: Path) -> None:
    tell, told = narrator()
    report = tmp_path / "report.html"
    story = await main.play(tell, tmp_path, f"sqlite:///{tmp_path / 'rollout.db'}", report, pace=SHORT)
    path = {name: [move.after for move in story.audit.moves if move.branch == name] for name in story.audit.stands}
    assert path == {
        "orders": ["25%", "100%", "100%, completed"],
        "picks": ["25%", "100%", "100%, completed"],
        "tickets": ["25%", "shadow, rolled back"],
        "summary": [],
    }
    assert report.stat().st_size > 10_000
    text = told.getvalue()
    assert main.BOUND in text
    assert re.search(f"orders +25% → 100% +errors {ODDS}  p90 {ODDS}  differ {ODDS}", text)
    assert re.search(r"\$\.tickets differs in order: (\d+) of \1 compared calls", text)
    assert "All of it happened" in text
    assert [line for line in text.splitlines() if len(line) > 80 and "ROLLOUT_DATABASE_URL" not in line] == []


def test_the_bound_that_is_told_is_that_of_the_gates() -> None:
    policy = policy_of(rollout(), ())
    assert bound_of(policy).alpha == 0.01
    assert "at most 1%" in main.BOUND
    assert log(main.FOR_A_STEP) == pytest.approx(LOG_PROMOTE)


def finding(gate: str = "errors", **changes: Any) -> Finding:
    fields: dict[str, Any] = {"unit": "orders", "grade": Grade.passed, "observed": 0.01, "limit": 0.05, "n": 40}
    return Finding(gate=gate, **{**fields, **changes})


SHOWN = finding("latency p90", log_e=-2.0, log_promote=log(23.9), unit_name="s", limit=inf)
WHY = "97% of 30 calls failed, of control's 0%; odds of 30,000 : 1 against it"
BROKEN = finding(grade=Grade.breach, log_e=log(3e13), log_promote=-9.0, why=WHY)


@pytest.mark.parametrize(
    ("move", "line"),
    [
        (Move("tickets", "rollback", "25%", "shadow, rolled back", 0.0), "tickets 25% rolled back"),
        (Move("orders", "complete", "100%", "100%, completed", 0.0), "orders 100% completed"),
        (Move("orders", "complete", "100%", "100%, completed", 0.0, (SHOWN, SHOWN)), "evidence against it 1:3"),
        (Move("picks", "promote", "5%", "25%", 0.0, (SHOWN, finding())), "p90 23:1 errors 1% ≤ 5%"),
        (Move("picks", "promote", "5%", "25%", 0.0, (finding("latency p90", limit=inf),)), "p90 ?"),
        (Move("tickets", "rollback", "25%", "shadow", 0.0, (SHOWN, BROKEN)), f"errors: {WHY}"),
        (Move("tickets", "rollback", "25%", "shadow", 0.0, (finding(grade=Grade.breach),)), "errors 1% > 5%"),
        (Move("picks", "resume", "shadow, rolled back", "shadow", 0.0, by="by anna: [mended]"), "by anna: [mended]"),
    ],
)
def test_every_kind_of_decision_can_be_told(move: Move, line: str) -> None:
    tell, told = narrator()
    tell.move(move)
    assert line in " ".join(told.getvalue().split())


@pytest.mark.parametrize(
    ("evidence", "said"),
    [(20.0, "20:1"), (1.0, "1:1"), (0.3, "1:3"), (54_321.9, "54,321:1"), (2e9, "10⁹:1"), (1e-8, "1:10⁸")],
)
def test_evidence_is_told_as_odds_that_claim_no_more_than_there_is(evidence: float, said: str) -> None:
    assert odds(log(evidence)) == said


def test_a_promise_that_does_not_come_true_is_told_and_exits_with_1(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    async def nothing(self: Story) -> None:
        raise Unmet("orders reaches 100%: not within 60 s. Now: orders shadow.")

    monkeypatch.setattr(Story, "run", nothing)
    assert main.run() == 1
    assert "failed  orders reaches 100%" in capsys.readouterr().out


def test_a_database_that_cannot_be_used_is_told_and_exits_with_1(capsys: pytest.CaptureFixture[str]) -> None:
    assert main.run(database_url="mysql://shop/rollout") == 1
    assert "mysql" in capsys.readouterr().out


def test_ctrl_c_ends_everybody(tmp_path: Path) -> None:
    log = tmp_path / "told"
    with (
        log.open("w") as out,
        subprocess.Popen([sys.executable, "-c", DEMO], stdout=out, start_new_session=True) as demo,
    ):
        wait_for(log, "the shop is open")
        own = set(children_of(demo.pid))
        demo.send_signal(signal.SIGINT)
        assert demo.wait(timeout=20) == 130
    assert len(own) == 3
    assert not own & set(children_of(1))
    assert "Stopped." in log.read_text()


@pytest.mark.soak
def test_the_demo_takes_less_than_a_minute() -> None:
    begun = time.monotonic()
    done = subprocess.run([sys.executable, "-c", DEMO], capture_output=True, text=True, timeout=180, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stderr == ""
    assert time.monotonic() - begun < 60
    assert re.search(r"holds: .*, about [\d,]+ more calls", done.stdout)
    for step in ("shadow → 5%", "5% → 25%", "25% → 50%", "50% → 100%"):
        assert re.search(rf"orders +{step} ", done.stdout), step
    assert re.search(r"tickets 25% rolled back", done.stdout)


@pytest.mark.soak
@pytest.mark.postgres
async def test_the_demo_runs_on_postgresql_and_again_beside_what_is_there(postgres_url: str, tmp_path: Path) -> None:
    for name in ("profile", "profile-2"):
        tell, told = narrator()
        folder = tmp_path / name
        folder.mkdir()
        story = await main.play(tell, folder, postgres_url, folder / "report.html", pace=SHORT)
        assert story.cast.rollout == name
        assert "All of it happened" in told.getvalue()


def wait_for(file: Path, words: str, within_s: float = 60) -> None:
    deadline = time.monotonic() + within_s
    while words not in file.read_text():
        assert time.monotonic() < deadline, f'"{words}" was not told'
        time.sleep(0.1)


def children_of(pid: int) -> Iterator[int]:
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except (FileNotFoundError, ProcessLookupError):
            continue
        if int(fields[1]) == pid:
            yield int(stat.parent.name)
