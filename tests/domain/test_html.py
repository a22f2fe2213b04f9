"""The HTML view: a tree with useful paths, bounded on hostile pages."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rollout.domain.call import Reply
from rollout.domain.differences import MAX_DEPTH, differences
from rollout.domain.html import MAX_ATTRIBUTES, MAX_ELEMENTS, SelectorError, html


def page(text: str, content_type: str = "text/html; charset=utf-8") -> Reply:
    return Reply(200, {"Content-Type": content_type}, text.encode())


def tree(text: str, *ignore: str) -> Any:
    return html(ignore)(page(text))


def found(control: str, candidate: str, *ignore: str) -> list[tuple[str, str]]:
    return [(d.text, str(d.kind)) for d in differences(tree(control, *ignore), tree(candidate, *ignore))]


def test_a_page_becomes_a_tree() -> None:
    assert tree(
        "<!doctype html><html lang=en><head><title>A &amp; B</title></head>"
        '<body class="b a b"><!-- x --><p>Hello,\n  <b>you</b>!</p><br/><img SRC="/x.png" hidden></body></html>'
    ) == {
        "html": {
            "@lang": "en",
            "head": {"title": [{"#text": ["A & B"]}]},
            "body": {
                "@class": "a b",
                "p": [{"#text": ["Hello,", "!"], "b": [{"#text": ["you"]}], "#order": ["#text", "b", "#text"]}],
                "br": [{}],
                "img": [{"@hidden": "", "@src": "/x.png"}],
                "#order": ["p", "br", "img"],
            },
            "#order": ["head", "body"],
        }
    }


@pytest.mark.parametrize(
    ("control", "candidate"),
    [
        ("<p>a</p>", "<P >a</P>"),
        ("<p>a</p>\n<p>b</p>", "<p>a<p>b"),
        ("<p a=1 b=2>", "<p b='2' a=\"1\">"),
        ("<i class='x y'>", "<i class=' y  x '>"),
        ("<p>a <!-- c --> b</p>", "<p>a\tb</p>"),
        ("<ul><li>a<li>b</ul>", "<ul><li>a</li><li>b</li></ul>"),
        ("<table><tr><td>a<td>b<tr><td>c</table>", "<table><tr><td>a</td><td>b</td></tr><tr><td>c</td></tr></table>"),
        ("<br>", "<br/>"),
        ("a &lt; b", "a < b"),
        ("<p>x</b></p>", "<p>x</p>"),
        ("<body a=1></body><body b=2>x", "<body a=1 b=2>x</body>"),
        ("<p a=1 a=2>", "<p a=1>"),
    ],
)
def test_what_a_browser_shows_the_same_is_the_same(control: str, candidate: str) -> None:
    assert found(control, candidate) == []


@pytest.mark.parametrize(
    ("control", "candidate", "expected"),
    [
        ("<body><div><p>a</div>", "<body><div><p>b</div>", [('$.body.div[0].p[0]["#text"][0]', "value")]),
        ("<a href=x>", "<a href=y>", [('$.a[0]["@href"]', "value")]),
        ("<a href=x>", "<a>", [('$.a[0]["@href"]', "missing")]),
        ("<p>a<p>b<p>c", "<p>a<p>x<p>b<p>c", [("$.p[1]", "extra")]),
        ("<p>a</p><div>b</div>", "<div>b</div><p>a</p>", [('$["#order"]', "order")]),
        ("<script>a('<p>')</script>", "<script>b('<p>')</script>", [('$.script[0]["#text"][0]', "value")]),
        ("<p>a", "<p>a<!--", []),
    ],
)
def test_a_difference_has_a_path_that_leads_there(
    control: str, candidate: str, expected: list[tuple[str, str]]
) -> None:
    assert found(control, candidate) == expected


@pytest.mark.parametrize(
    "selector",
    ["div", ".ts", "#now", "[data-t]", "[data-t=1]", "[data-t='1']", "div.ts#now[data-t]", "section div", "*.ts"],
)
def test_elements_that_match_a_selector_are_not_seen(selector: str) -> None:
    control = "<section>a <div id=now class='x ts' data-t=1>12:00<b>!</b></div> b<p>c</section>"
    candidate = "<section>a <div id=now class='x ts' data-t=1>12:01</div> b<p>c</section>"
    assert found(control, candidate, selector) == []
    assert found(control, "<section>a b<p>c</section>", selector) == []


@pytest.mark.parametrize(
    "selector",
    ["p", ".t", "#Now", "[data-x]", "[data-t='2']", "div.ts.no", "p div", "div section", "section section div"],
)
def test_elements_that_match_no_selector_are_seen(selector: str) -> None:
    control = "<section><div id=now class='x ts' data-t=1>12:00</div></section>"
    assert found(control, control.replace("12:00", "12:01"), selector) != []


@pytest.mark.parametrize(
    ("selector", "remedy"),
    [
        ("div > p", "only a space"),
        ("div + p", "only a space"),
        ("a, b", "two entries"),
        ("p:first-child", "pseudo-classes"),
        ("[href^=x]", "[name=value]"),
        ("", "leave it out"),
        (".a.b.", "Known:"),
        (".a*", "Known:"),
    ],
)
def test_a_selector_that_is_not_known_is_refused_with_the_remedy(selector: str, remedy: str) -> None:
    with pytest.raises(SelectorError) as caught:
        html([selector])
    assert remedy in str(caught.value)
    assert selector in str(caught.value)


def test_one_text_instead_of_a_list_is_refused() -> None:
    with pytest.raises(SelectorError, match="write a list"):
        html("script")


def test_the_charset_is_honoured_and_a_wrong_one_does_no_harm() -> None:
    view = html()
    assert view(Reply(200, {"Content-Type": "text/html; charset=latin-1"}, b"<p>\xe9")) == {"p": [{"#text": ["é"]}]}
    assert view(Reply(200, {"Content-Type": "text/html; charset=nope"}, b"<p>\xff")) == {"p": [{"#text": ["\ufffd"]}]}


@given(st.text(alphabet="<>/!-=\"' abp\n&#;1?", max_size=80))
def test_any_text_has_a_tree_that_is_json(text: str) -> None:
    value = tree(text)
    assert json.loads(json.dumps(value)) == value
    assert differences(value, tree(text)) == []


N = 40_000


@pytest.mark.parametrize(
    "hostile",
    [
        "<!--" * N,
        "<" * N,
        "<a " * N,
        "<a x='" * N,
        "<![CDATA[" * N,
        "</" * N,
        "</x " * N,
        "<?" * N,
        "&" * N,
        "<a " + "x='" * N,
        "<a " + "=" * N,
        "<a" + " /" * N,
        "<a" + " " * N + "x" + " " * N,
        "<script>" + "</" * N,
        "<title>" + "</t" * N,
        "&#" + "9" * N,
        "<b>" * (MAX_ELEMENTS // 2) + "</i>" * N,
        "<b>" * (MAX_ELEMENTS // 2) + "</b>" * N,
        "<p>" * MAX_ELEMENTS,
    ],
    ids=lambda text: f"{text[:9]}…",
)
def test_a_hostile_page_takes_bounded_time(hostile: str) -> None:
    started = time.process_time()
    tree(hostile, "section div.a b")
    assert time.process_time() - started < 2.0


@pytest.mark.parametrize("text", ["<b>" * (MAX_ELEMENTS + 1), "<a" + " x=1" * (MAX_ATTRIBUTES + 1) + ">"])
def test_a_page_that_is_too_large_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="more than"):
        tree(text)


def test_deep_elements_are_kept_within_what_can_be_compared() -> None:
    deep = "<div>" * 1_000 + "{}" + "</div>" * 1_000
    assert [d.kind for d in differences(tree(deep.format("a")), tree(deep.format("b")))] == ["value"]
    hidden = "<div>" * 100 + "<i class=ts>{}<b>{}</b></i>" + "</div>" * 100
    assert tree(hidden.format(1, 2), ".ts") == tree(hidden.format(3, 4), ".ts")
    assert len(json.dumps(tree(deep))) < 100_000
    assert MAX_DEPTH > 110
