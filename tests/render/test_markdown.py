"""The report for a pull request: short, the verdict first, and nothing in the data is markup, a mention or a link."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt
from markdown_it.token import Token

from rollout.domain.report import Report
from rollout.testing import ManualClock, memory_backend, sample_policy
from rollout.usecases import reporting
from rollout_render.inert import code, prose
from rollout_render.markdown import LONGEST, markdown_report
from tests.render.hostile import NASTY, dirty
from tests.render.story import NAME, told

READER = MarkdownIt("commonmark").enable(["table", "strikethrough"])
PLAIN = {
    "paragraph", "inline", "text", "softbreak", "html_inline", "html_block", "heading", "blockquote", "strong",
    "bullet_list", "list_item", "table", "thead", "tbody", "tr", "th", "td", "code_inline",
}  # fmt: skip
OWN_TAG = re.compile(r"</?(?:details|summary|code|sub)>")
SPECIAL = st.text(st.sampled_from("@#:|`*_[]()<>!~\\&$ \n\x1b\u202eaw.x/h-1"), max_size=40)


@pytest.fixture
async def report() -> Report:
    backend, _ = await told()
    return await reporting.report(backend, NAME)


def walked(tokens: list[Token]) -> Iterator[Token]:
    for token in tokens:
        yield token
        yield from walked(token.children or [])


def types_of(text: str) -> set[str]:
    return {token.type.removesuffix("_open").removesuffix("_close") for token in walked(READER.parse(text))}


def tags_of(text: str) -> list[str]:
    """The tags that are not our own."""
    html = " ".join(token.content for token in walked(READER.parse(text)) if token.type.startswith("html"))
    return [tag for tag in re.findall(r"<[^>]*>?", html) if not OWN_TAG.fullmatch(tag)]


async def test_the_verdict_comes_first_and_the_rest_is_folded_away(report: Report) -> None:
    lines = markdown_report(report).splitlines()
    assert lines[0] == "### <code>profile</code>: rolled back"
    assert lines[2:4] == [
        "> [!CAUTION]",
        "> **Rolled back: tickets, which users get from control; orders stays live.**",
    ]
    text = "\n".join(lines)
    unfolded = re.sub(r"<details>.*?</details>", "", text, flags=re.DOTALL)
    assert len(unfolded) < 2_500
    assert "cost unknown for 180 calls" in unfolded  # why it may not be promoted
    assert "| pass |" not in unfolded
    for part in ("What differs: 4 paths", "Latency", "A typical call", "Cohorts", "Cost", "Policy in force: v1"):
        assert f"<details><summary>{part}</summary>" in text, part


async def test_it_is_markdown_that_every_reader_takes_the_same(report: Report) -> None:
    text = markdown_report(report)
    assert types_of(text) <= PLAIN
    assert tags_of(text) == []
    assert text.count("<details>") == text.count("</details>") == text.count("<summary>")


async def test_every_row_of_a_table_has_as_many_cells_as_its_head(report: Report) -> None:
    for text in (markdown_report(report), markdown_report(dirty(report))):
        rows = [line for line in text.splitlines() if line.startswith("|")]
        heads = [rows[index - 1] for index, row in enumerate(rows) if set(row) <= set("|-: ")]
        assert heads
        head = heads[0]
        for row in rows:
            head = row if row in heads else head
            assert row.count(" |") == head.count(" |"), row


async def test_nothing_in_the_data_is_markup_a_mention_or_a_link(report: Report) -> None:
    text = markdown_report(dirty(report))
    assert types_of(text) <= PLAIN
    assert tags_of(text) == []
    assert not any(sign in text for sign in "\x1b\u202e")
    outside = re.sub(r"<code>.*?</code>", "", READER.renderInline(text))
    assert not re.search(r"@\w", outside)


@given(SPECIAL)
def test_no_text_gets_out_of_its_cell(text: str) -> None:
    for made in (prose(text), code(text)):
        table = f"| a | b |\n| --- | --- |\n| {made} | end |\n"
        tokens = READER.parse(table)
        cells = [token for token in tokens if token.type == "td_open"]
        assert len(cells) == 2
        kinds = {token.type for token in walked(tokens) if token.type not in ("text", "inline")}
        assert {kind.removesuffix("_open").removesuffix("_close") for kind in kinds} <= PLAIN - {
            "strong",
            "code_inline",
        }
        assert tags_of(table) == []


@pytest.mark.parametrize("name", ["@ann", "see #12", ":tada:", "org/repo#3", "(GH-12)", "gh-3"])
def test_github_finds_nobody_to_call_in_prose(name: str) -> None:
    shown = "".join(token.content for token in walked(READER.parseInline(prose(name))) if token.type == "text")
    assert shown.replace("\u200b", "") == name
    assert not re.search(r"@\w|#\d|:\w+:|GH-\d", shown, re.IGNORECASE)


@pytest.mark.parametrize("address", ["https://evil.example", "www.evil.example", "a@evil.example"])
def test_no_address_becomes_a_link(address: str) -> None:
    """GitHub's own rule: ``www.``, a scheme with ``//``, or an ``@`` in the text that it is given."""
    for made in (prose(address), code(address)):
        assert not re.search(r"www\.|://|@", made)
        assert address in READER.renderInline(made).replace("\u200b", "")


async def test_a_comment_can_hold_it_whatever_is_in_it(report: Report) -> None:
    long = dirty(report, "@`|<" * 100_000)
    text = markdown_report(long)
    assert len(text) < 65_536
    assert len(text) < LONGEST + 1_000


async def test_what_does_not_fit_is_left_out_and_named(report: Report) -> None:
    assert "Too long" not in markdown_report(report)
    text = markdown_report(dirty(report, "|" * 400))
    (left_out,) = re.findall(r"Too long for a comment: (.*?)\. `rollout report", text)
    assert all(f"<summary>{title}</summary>" not in text for title in left_out.split("; "))


async def test_a_report_of_nothing_is_short() -> None:
    backend = memory_backend(ManualClock())
    await backend.state.register(sample_policy(), "test")
    text = markdown_report(await reporting.report(backend, "profile"))
    assert types_of(text) <= PLAIN
    assert "No process counted a call in the last ten minutes." in text
    assert "Latency" not in text


def test_nasty_is_nasty() -> None:
    """The text that the other tests use would be all of it, were it written as it is."""
    assert types_of(f"x {NASTY} [a](http://b) y") - PLAIN
    assert tags_of(f"x {NASTY}")
