"""The tree of paths that differ: every mismatch is in it once, at its path."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from hypothesis import given
from hypothesis import strategies as st

from rollout.domain.report_paths import DEEPEST, PathNode, tree
from rollout.domain.report_values import Mismatch


def mismatch(path: str, count: int = 1, kind: str = "value", *, current: bool = True) -> Mismatch:
    return Mismatch(
        path=path, kind=kind, branch="orders", current=current, count=count, share=None, noise=0, noise_share=None,
        excess=None, excess_low=None, excess_high=None, first_at=0.0, last_at=0.0, trials=(), example=None,
    )  # fmt: skip


def lines(nodes: Sequence[PathNode], depth: int = 0) -> Iterator[str]:
    for node in nodes:
        kinds = ", ".join(f"{one.kind} {one.count}" for one in node.mismatches)
        yield f"{'  ' * depth}{node.name}{f': {kinds}' if kinds else ''}"
        yield from lines(node.below, depth + 1)


def test_what_belongs_together_stands_together_most_frequent_first() -> None:
    found = tree(
        [
            mismatch("$.orders[*].total", 5),
            mismatch("$.orders[*].state", 7),
            mismatch("$.orders[*].state", 9, "missing"),
            mismatch("$.orders", 2, "order"),
            mismatch('$.tags["a b"]', 8),
            mismatch("status", 1),
            mismatch("headers.location", 3),
        ]
    )
    assert list(lines(found)) == [
        "$",
        "  .orders: order 2",
        "    [*]",
        "      .state: missing 9, value 7",
        "      .total: value 5",
        '  .tags["a b"]: value 8',
        "headers.location: value 3",
        "status: value 1",
    ]


def test_what_was_not_seen_since_the_policy_in_force_began_comes_last() -> None:
    nodes = tree([mismatch("$.a.x", 90, current=False), mismatch("$.b", 1), mismatch("$.b", 5, "type", current=False)])
    assert list(lines(nodes)) == ["$", "  .b: value 1, type 5", "  .a.x: value 90"]


def test_one_call_may_differ_in_several_places_so_their_counts_are_not_added_up() -> None:
    (root,) = tree([mismatch("$.a", 5), mismatch("$.b", 7)])
    assert (root.least, root.places) == (7, 2)


def test_a_path_that_was_cut_or_stands_for_others_is_a_place_of_its_own() -> None:
    assert list(lines(tree([mismatch("$.a.b…", 2), mismatch("(other)", 1)]))) == ["$.a.b…: value 2", "(other): value 1"]


def test_nothing_is_deeper_than_a_screen_is_wide() -> None:
    paths = ["$" + ".a" * length for length in range(1, 60)]
    found = tree([mismatch(path) for path in paths])
    assert max(len(line) - len(line.lstrip()) for line in lines(found)) // 2 < DEEPEST
    assert len([one for one in walked(found) if one.mismatches]) == len(paths)


def walked(nodes: Sequence[PathNode]) -> Iterator[PathNode]:
    for node in nodes:
        yield node
        yield from walked(node.below)


STEPS = st.lists(st.sampled_from([".a", ".b", "[*]", '["x y"]', ".c.d", ".e.f.g.h"]), max_size=9)
PATHS = st.lists(st.builds(lambda steps: "$" + "".join(steps), STEPS), max_size=20, unique=True)


@given(PATHS)
def test_every_mismatch_is_in_the_tree_once_and_names_add_up_to_its_path(paths: list[str]) -> None:
    def reached(nodes: Sequence[PathNode], above: str) -> Iterator[tuple[str, str]]:
        for node in nodes:
            yield from ((above + node.name, one.path) for one in node.mismatches)
            yield from reached(node.below, above + node.name)

    found = list(reached(tree([mismatch(path) for path in paths]), ""))
    assert all(names == path for names, path in found)
    assert sorted(path for _, path in found) == sorted(paths)
