"""A view of HTML replies: pages become trees that compare place by place.

``Compare(view=html(ignore=["script", "div.ts", "#csrf", "form input[name=token]"]))``

The tree. An element is an object:

* ``"@name"``: each attribute, ``""`` where it has no value, the tokens of ``class`` sorted and once each;
* ``"tag"``: the child elements of one tag, an array even of one; ``html``, ``head`` and ``body`` occur once and are
  objects;
* ``"#text"``: the runs of text between the child elements, whitespace collapsed, empty ones left out;
* ``"#order"``: where there is more than one sort of children, their tags and ``"#text"`` as they follow each other.

So a difference reads ``$.html.body.div[0]["@class"]`` or ``$.html.body.p[2]["#text"][0]``, and an attribute anywhere
is ignored by ``Compare(ignore=['$..["@nonce"]'])``.

Read like a browser reads, in simple form: tags and attributes in any case, entities decoded, void elements, unclosed
``p``, ``li``, ``td`` … closed by what follows, end tags without a beginning skipped. Comments and doctypes are
dropped, they are not shown; scripts and styles are kept, as a change of them is one (ignore them by name). ``pre`` is
collapsed like any text.

Tokens are cut here and not by ``html.parser``: that one takes quadratic time on an unclosed comment, tag or quote
(over five seconds for 200 kB on 3.11 to 3.13), and a page is not ours to trust. Here every character is looked at a
bounded number of times. More than ``MAX_ELEMENTS`` elements or ``MAX_ATTRIBUTES`` attributes raise ``ValueError``,
which a comparison reports; elements deeper than ``MAX_NESTING`` become children of the last one that is not.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from html import unescape as _unescape
from typing import TYPE_CHECKING, Any, Final

from rollout.domain.bodies import kind_of

if TYPE_CHECKING:
    from rollout.domain.call import Reply

MAX_ELEMENTS: Final = 20_000
MAX_ATTRIBUTES: Final = 100_000
MAX_NESTING: Final = 55


class SelectorError(ValueError):
    """A selector that is not understood; the message names it and the remedy."""


def html(ignore: Sequence[str] = ()) -> Callable[[Reply], object]:
    """A view that makes a tree of an HTML reply, less the elements that match one of the selectors.

    Selectors: ``tag``, ``*``, ``#id``, ``.class``, ``[attr]``, ``[attr=value]``, these joined (``div.ts[hidden]``),
    and a space for "somewhere inside". Default: nothing is ignored. Raises ``SelectorError`` here, at declaration;
    the view itself raises ``ValueError`` where a page is too large.
    """
    if isinstance(ignore, str):
        raise SelectorError(f'ignore="{ignore}" is one text: write a list, ignore=["{ignore}"]')
    selectors = tuple(_selector(text) for text in ignore)

    def view(reply: Reply) -> object:
        return tree(_decoded(reply.body, reply.content_type), selectors)

    return view


def tree(page: str, ignore: Sequence[Selector] = ()) -> dict[str, Any]:
    """The tree of a page; see the module. Raises ``ValueError`` where it is too large."""
    builder = _Builder(ignore)
    for token in _tokens(page):
        if isinstance(token, str):
            builder.text(token)
        elif token.closing:
            builder.end(token.tag)
        else:
            builder.start(token)
    return _shown(builder.root)


# ---- tokens ----


@dataclass(frozen=True, slots=True)
class _Tag:
    tag: str
    attributes: dict[str, str]
    closing: bool = False


_OPENING: Final = re.compile(r"<(/?)([a-zA-Z][^\s/>]*)")
_ATTRIBUTE: Final = re.compile(r"""[\s/=]*([^\s/>=]+)(?:\s*=\s*("[^"]*"|'[^']*'|[^\s>]*))?""")
_CLOSE: Final = re.compile(r"[\s/=]*>")
_RAW: Final = {
    tag: re.compile(rf"</{tag}(?=[\s/>])", re.IGNORECASE)
    for tag in ("script", "style", "textarea", "title", "xmp", "iframe", "noembed", "noframes")
}
_DECODED: Final = {"textarea", "title"}


def _tokens(page: str) -> Iterator[str | _Tag]:
    at, attributes_left = 0, [MAX_ATTRIBUTES]
    while at < len(page):
        start = page.find("<", at)
        if start < 0:
            yield _text(page[at:])
            return
        if start > at:
            yield _text(page[at:start])
        opening = _OPENING.match(page, start)
        if opening is None:
            at = _beyond_markup(page, start)
            if at == start:
                yield "<"
                at += 1
            continue
        tag = opening.group(2).lower()
        attributes, at = _attributes(page, opening.end(), attributes_left)
        if at < 0:
            return  # the page ends inside a tag
        yield _Tag(tag, attributes, closing=bool(opening.group(1)))
        if tag in _RAW and not opening.group(1):
            close = _RAW[tag].search(page, at)
            stop = close.start() if close else len(page)
            yield _text(page[at:stop]) if tag in _DECODED else page[at:stop]
            at = stop


def _text(raw: str) -> str:
    try:
        return _unescape(raw)
    except ValueError:  # a character reference of more digits than Python reads
        return raw


def _beyond_markup(page: str, start: int) -> int:
    """Where a comment, doctype or other markup that is not shown ends; ``start`` where none begins there."""
    if page.startswith("<!--", start):
        end, width = page.find("-->", start + 2), 3
    elif page[start + 1 : start + 2] in ("!", "?", "/"):
        end, width = page.find(">", start), 1
    else:
        return start
    return len(page) if end < 0 else end + width


def _attributes(page: str, at: int, left: list[int]) -> tuple[dict[str, str], int]:
    """The attributes of a tag, the first of each name, and where the tag ends; -1 where it does not."""
    found: dict[str, str] = {}
    while True:
        if close := _CLOSE.match(page, at):
            return found, close.end()
        attribute = _ATTRIBUTE.match(page, at)
        if attribute is None:
            return found, -1
        left[0] -= 1
        if left[0] < 0:
            raise ValueError(f"the page has more than {MAX_ATTRIBUTES:,} attributes")
        raw = attribute.group(2) or ""
        value = raw[1:-1] if len(raw) > 1 and raw[0] in "\"'" and raw[-1] == raw[0] else raw
        found.setdefault(attribute.group(1).lower(), _text(value))
        at = attribute.end()


# ---- the tree ----


@dataclass(slots=True, eq=False)
class _Element:
    tag: str
    attributes: dict[str, str]
    children: list[_Element | str] = field(default_factory=list)


_VOID: Final = frozenset(
    ("area", "base", "br", "col", "embed", "hr", "img", "input", "link", "meta", "param", "source", "track", "wbr")
)
_ONCE: Final = frozenset(("html", "head", "body"))
_ROWS: Final = frozenset(("td", "th", "tr", "p"))
_BLOCKS: Final = (
    *("address", "article", "aside", "blockquote", "details", "div", "dl", "fieldset", "figure", "footer", "form"),
    *("h1", "h2", "h3", "h4", "h5", "h6", "header", "hr", "main", "nav", "ol", "p", "pre", "section", "table", "ul"),
)
_CLOSES: Final[dict[str, frozenset[str]]] = {
    **{block: frozenset(("p",)) for block in _BLOCKS},
    "body": frozenset(("head",)),
    "li": frozenset(("li", "p")),
    "dt": frozenset(("dt", "dd", "p")),
    "dd": frozenset(("dt", "dd", "p")),
    "td": frozenset(("td", "th", "p")),
    "th": frozenset(("td", "th", "p")),
    "tr": _ROWS,
    **{group: _ROWS | {"thead", "tbody", "tfoot"} for group in ("thead", "tbody", "tfoot")},
    "option": frozenset(("option",)),
    "optgroup": frozenset(("option", "optgroup")),
}


class _Builder:
    """The elements that are open, outermost first, and what was made of them.

    ``into`` says for each of them where its children go: to itself, or, too deep, to where it went.
    """

    def __init__(self, ignore: Sequence[Selector]) -> None:
        self.root = _Element("", {})
        self.ignore = ignore
        self.open = [self.root]
        self.into = [self.root]
        self.names: Counter[str] = Counter()
        self.once: dict[str, _Element] = {}
        self.elements = 0

    def start(self, token: _Tag) -> None:
        self.elements += 1
        if self.elements > MAX_ELEMENTS:
            raise ValueError(f"the page has more than {MAX_ELEMENTS:,} elements")
        closes = _CLOSES.get(token.tag, frozenset())
        while self.open[-1].tag in closes:
            self.pop()
        if token.tag in self.once:
            self.again(token)
            return
        element = _Element(token.tag, token.attributes)
        ignored = any(selector.matches(element, self.open[1:MAX_NESTING]) for selector in self.ignore)
        if not ignored:
            self.into[-1].children.append(element)
            if token.tag in _ONCE:
                self.once[token.tag] = element
        if token.tag not in _VOID:
            self.push(element, element if ignored or len(self.open) < MAX_NESTING else self.into[-1])

    def again(self, token: _Tag) -> None:
        """A second ``html``, ``head`` or ``body`` adds attributes to the first and goes on inside it."""
        known = self.once[token.tag]
        known.attributes = {**token.attributes, **known.attributes}
        if not self.names[token.tag]:
            self.push(known, known)

    def end(self, tag: str) -> None:
        if self.names[tag]:
            while self.pop() != tag:
                pass

    def push(self, element: _Element, into: _Element) -> None:
        self.open.append(element)
        self.into.append(into)
        self.names[element.tag] += 1

    def pop(self) -> str:
        self.into.pop()
        tag = self.open.pop().tag
        self.names[tag] -= 1
        return tag

    def text(self, text: str) -> None:
        self.into[-1].children.append(text)


def _shown(element: _Element) -> dict[str, Any]:
    shown: dict[str, Any] = {}
    for name in sorted(element.attributes):
        value = element.attributes[name]
        shown[f"@{name}"] = " ".join(sorted(set(value.split()))) if name == "class" else value
    order: list[str] = []
    for child in _runs(element.children):
        if isinstance(child, str):
            shown.setdefault("#text", []).append(child)
            order.append("#text")
            continue
        order.append(child.tag)
        if child.tag in _ONCE:
            shown[child.tag] = _shown(child)
        else:
            shown.setdefault(child.tag, []).append(_shown(child))
    if len(set(order)) > 1:
        shown["#order"] = order
    return shown


def _runs(children: list[_Element | str]) -> Iterator[_Element | str]:
    """The children, with neighbouring texts as one: where a comment or an ignored element stood is not seen."""
    texts: list[str] = []
    for child in [*children, None]:
        if isinstance(child, str):
            texts.append(child)
            continue
        if run := " ".join("".join(texts).split()):
            yield run
        texts = []
        if child is not None:
            yield child


def _decoded(body: bytes, content_type: str) -> str:
    charset = kind_of(content_type)[1] or "utf-8"
    try:
        return body.decode(charset, "replace")
    except (LookupError, ValueError):
        return body.decode("utf-8", "replace")


# ---- selectors ----


@dataclass(frozen=True, slots=True)
class _Compound:
    """What one element must be: a tag (``""``: any) and attributes; None as a value means that it is there."""

    tag: str
    classes: frozenset[str]
    attributes: tuple[tuple[str, str | None], ...]

    def fits(self, element: _Element) -> bool:
        if self.tag and self.tag != element.tag:
            return False
        if self.classes and not self.classes <= set(element.attributes.get("class", "").split()):
            return False
        return all(
            name in element.attributes and value in (None, element.attributes[name]) for name, value in self.attributes
        )


@dataclass(frozen=True, slots=True)
class Selector:
    """Compounds from the outermost to the element itself."""

    compounds: tuple[_Compound, ...]

    def matches(self, element: _Element, above: Sequence[_Element]) -> bool:
        """True where the element fits the last compound, and the others some of those above it, in order."""
        if not self.compounds[-1].fits(element):
            return False
        waiting = list(self.compounds[:-1])
        for ancestor in reversed(above):
            if not waiting:
                break
            if waiting[-1].fits(ancestor):
                waiting.pop()
        return not waiting


_SIMPLE: Final = re.compile(
    r"""(?P<tag>[a-zA-Z][\w-]*|\*)
      | \#(?P<id>[\w-]+)
      | \.(?P<class>[\w-]+)
      | \[\s*(?P<attr>[\w:.-]+)\s*(?:=\s*(?P<value>"[^"]*"|'[^']*'|[^\s\]"'=]+)\s*)?\]""",
    re.VERBOSE,
)
_ADVICE: Final = (
    (",", 'write two entries instead of one with ","'),
    (">", 'only a space ("somewhere inside") joins elements here'),
    ("+", 'only a space ("somewhere inside") joins elements here'),
    ("~", 'only a space ("somewhere inside") joins elements here'),
    (":", "pseudo-classes are not known here"),
    ("[", "an attribute is [name] or [name=value]"),
)


def _selector(text: str) -> Selector:
    compounds: list[_Compound] = []
    at = 0
    while at < len(text):
        if text[at].isspace():
            at += 1
            continue
        compound, at = _compound(text, at)
        compounds.append(compound)
    if not compounds:
        raise SelectorError('an empty selector matches nothing: leave it out, or write "tag", "#id", ".class"')
    return Selector(tuple(compounds))


def _compound(text: str, at: int) -> tuple[_Compound, int]:
    start, tag = at, ""
    classes: set[str] = set()
    attributes: list[tuple[str, str | None]] = []
    while at < len(text) and not text[at].isspace():
        simple = _SIMPLE.match(text, at)
        if simple is None or (simple["tag"] and at > start):
            advice = next((remedy for sign, remedy in _ADVICE if text.startswith(sign, at)), "")
            raise SelectorError(
                f'selector "{text}", position {at}: {advice or "this is not understood"}. '
                "Known: tag, #id, .class, [attr], [attr=value], joined or with a space between"
            )
        if simple["tag"]:
            tag = "" if simple["tag"] == "*" else simple["tag"].lower()
        elif simple["class"]:
            classes.add(simple["class"])
        elif simple["id"]:
            attributes.append(("id", simple["id"]))
        else:
            value = simple["value"]
            attributes.append((simple["attr"].lower(), value if value is None else value.strip("\"'")))
        at = simple.end()
    return _Compound(tag, frozenset(classes), tuple(attributes)), at
