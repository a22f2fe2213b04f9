"""What differs, as each form tells it: what the policy in force never showed is marked, and stands last."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from rollout.domain.report import Report
from rollout.testing import (
    ManualClock,
    MemoryBackend,
    memory_backend,
    sample_batch,
    sample_block,
    sample_mismatch,
    sample_policy,
    sample_trial,
)
from rollout.usecases import look, reporting
from rollout_render import screens, sentences
from rollout_render.explorer import places
from rollout_render.markdown import markdown_report
from rollout_render.page import html_report
from rollout_render.text import text_report
from tests.render.test_watching import printed

HASHED = {"type": "string", "length": 5, "hash": "3c160513aa"}
FORMS: list[Callable[[Report], str]] = [text_report, markdown_report, html_report]


async def mended(*paths: str) -> MemoryBackend:
    """``$.mended`` differed often under version 1, and these paths, seldom, under version 2."""
    clock = ManualClock()
    backend = memory_backend(clock)
    await backend.state.register(sample_policy(), "test")
    before = clock.wall()
    clock.advance(10)
    await backend.state.register(sample_policy(revision="2"), "test")
    counts = [sample_mismatch("$.mended", 90, first_at=before, last_at=before + 9.999)]
    counts += [sample_mismatch(path, 2, first_at=before, last_at=clock.wall()) for path in paths]
    await backend.ledger.append(sample_batch(*counts))
    return backend


async def test_a_screen_tells_what_was_mended_apart_and_when_it_was_seen_last() -> None:
    backend = await mended("$.now")
    for screen in (
        screens.diff(await reporting.diff(backend, "profile")),
        screens.show(await look.show(backend, "profile")),
    ):
        out = "\n".join(printed(screen, 100))
        assert out.index("$.now") < out.index("Not seen since policy v2 began") < out.index("$.mended")
        (line,) = [line for line in out.splitlines() if "$.mended" in line]
        assert line.rstrip().endswith(":09Z")


async def test_where_nothing_differs_any_more_that_is_said_first() -> None:
    out = "\n".join(printed(screens.diff(await reporting.diff(await mended(), "profile")), 100))
    assert out.index("Not seen since policy v2 began, ") < out.index("$.mended")
    assert "beyond" not in out


async def test_what_differs_now_is_told_however_many_paths_differed_more_often_once() -> None:
    backend = await mended("$.now")
    counts = [sample_mismatch(f"$.once[{number}]", 50 + number) for number in range(30)]
    await backend.ledger.append(sample_batch(*counts))
    for found, most in (
        ((await look.show(backend, "profile")).mismatches, 5),
        ((await reporting.diff(backend, "profile", limit=7)).mismatches, 7),
    ):
        assert len(found) == most
        assert [(one.path, one.current) for one in found[:2]] == [("$.now", True), ("$.mended", False)]


@pytest.mark.parametrize("form", FORMS)
async def test_every_form_of_the_report_marks_what_the_policy_in_force_never_showed(
    form: Callable[[Report], str],
) -> None:
    text = form(await reporting.report(await mended("$.now"), "profile"))
    assert text.index(".now") < text.index(".mended")
    assert "since policy v2" in text
    assert "since policy v1" not in text


async def test_the_tree_of_paths_ends_with_what_was_mended() -> None:
    report = await reporting.report(await mended("$.now"), "profile")
    (root,) = places(report)
    assert [place.name for place in root.below] == [".now", ".mended"]


async def with_pair(control: Any, candidate: Any) -> MemoryBackend:
    backend = await mended("$.now")
    seen = {"path": "$.now", "kind": "value", "branch": "orders", "control": control, "candidate": candidate}
    await backend.ledger.append(
        sample_batch(
            sample_trial(1, outcome="mismatched", differences=[seen]),
            sample_mismatch("$.now", 1, trials=[f"{1:032x}"]),
        )
    )
    return backend


CLEAR = 'store=Store(clear=["$.now"])'


async def test_hashes_are_explained_where_they_are_shown_with_what_shows_the_values() -> None:
    backend = await with_pair(HASHED, HASHED)
    said = " ".join(" ".join(printed(screens.diff(await reporting.diff(backend, "profile")), 100)).split())
    assert CLEAR in said
    assert said.index(CLEAR) < said.index("#3c160513")
    report = await reporting.report(backend, "profile")
    assert CLEAR in " ".join(text_report(report).split())
    assert "Store(clear=" in html_report(report)
    assert "Store(clear=" in markdown_report(report)


async def test_of_one_path_the_remedy_names_just_that_path() -> None:
    examples = (await reporting.diff(await with_pair(HASHED, HASHED), "profile")).examples
    assert CLEAR in sentences.redacted(examples, "$.now")
    assert sentences.redacted(examples, "$.other") == ""


async def test_a_hostile_path_in_the_remedy_harms_no_page() -> None:
    report = await reporting.report(await with_pair(HASHED, HASHED), "profile")
    (example,) = report.examples
    hostile = replace(example, differences=[{**example.differences[0], "path": "$.\u202e<script>\x1b" + "x" * 9_000}])
    page = html_report(replace(report, examples=[hostile]))
    assert [sign for sign in ("\u202e", "\x1b", "<script>x", "x" * 1_000) if sign in page] == []


async def test_of_values_in_clear_nothing_is_explained() -> None:
    backend = await with_pair("a", {"type": "missing"})
    assert sentences.redacted((await reporting.diff(backend, "profile")).examples) == ""


async def with_failures() -> MemoryBackend:
    """Of the units one differs, of which half the pairs could not be compared, one never does, one always failed."""
    backend = await mended("$.now")
    counts = {
        "orders": {"matched": 460, "mismatched": 5, "candidate_bad": 599, "only_control_bad": 7},
        "picks": {"matched": 1_064},
        "summary": {"candidate_bad": 1_064},
    }
    blocks = [sample_block(1_767_614_400, "P", figures, unit=unit) for unit, figures in counts.items()]
    await backend.ledger.append(sample_batch(*blocks))
    return backend


NOT_COMPARED = (
    "orders: 606 of 1,071 pairs could not be compared, for the branch (599) or control alone failed.",
    "summary: 1,064 of 1,064 pairs could not be compared, for the branch failed.",
)


@pytest.mark.parametrize("width", [80, 120])
async def test_every_unit_is_told_of_before_the_paths_also_without_a_difference(width: int) -> None:
    out = "\n".join(printed(screens.diff(await reporting.diff(await with_failures(), "profile")), width))
    before, _ = out.split("$.now", 1)
    rows = [line.split() for line in before.splitlines()]
    assert ["orders", "465", "460", "0", "5", "0", "1.08%", "–"] in rows
    assert ["picks", "1,064", "1,064", "0", "0", "0", "0%", "–"] in rows
    assert ["summary", "0", "0", "0", "0", "0", "–", "–"] in rows
    for note in NOT_COMPARED:
        assert note in " ".join(before.split())
    assert "picks:" not in before


async def test_where_no_path_differs_what_could_not_be_compared_is_told_all_the_same() -> None:
    seen = replace(await reporting.diff(await with_failures(), "profile"), mismatches=())
    out = "\n".join(printed(screens.diff(seen), 120))
    assert out.startswith("Nothing differs in ")
    assert NOT_COMPARED[1] in out


async def test_of_one_path_the_units_are_not_told() -> None:
    seen = await reporting.diff(await with_failures(), "profile", "$.now")
    assert "picks" not in "\n".join(printed(screens.diff(seen), 120))


@pytest.mark.parametrize("form", FORMS)
async def test_every_form_of_the_report_tells_what_could_not_be_compared(form: Callable[[Report], str]) -> None:
    text = " ".join(form(await reporting.report(await with_failures(), "profile")).split())
    for note in NOT_COMPARED:
        assert note in text


async def test_a_pull_request_names_every_unit_where_no_path_differs() -> None:
    report = replace(await reporting.report(await with_failures(), "profile"), mismatches=())
    assert "| <code>picks</code> | 1,064 | 0 | 0 | 0% | – |" in markdown_report(report)


async def test_where_control_alone_failed_no_branch_is_blamed() -> None:
    found = (await reporting.diff(await with_failures(), "profile")).comparisons
    orders = [replace(one, branch_failed=0) for one in found if one.unit == "orders"]
    assert sentences.not_compared(orders) == ["orders: 7 of 472 pairs could not be compared, for control failed."]
