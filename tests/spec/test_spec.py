"""The spec file: what it sets, every mistake in one error with its line, its schema, and its example."""

from __future__ import annotations

import json
import re
import tomllib
from decimal import Decimal
from fractions import Fraction
from math import ceil
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rollout import gates
from rollout.domain.cost import NANO
from rollout.domain.gates import GateSpec
from rollout.domain.layers import layered
from rollout.domain.prices import Price, PriceBook
from rollout.domain.ramp import Ramp
from rollout.domain.state import SETTABLE, BranchPolicy, Policy
from rollout.errors import Problem, SpecError, UnknownName
from rollout_spec import example, json_schema, parse_spec, read_spec
from tests.support import thresholds

from .documents import TABLES, Writer
from .schemas import accepts

EVERYTHING = """
[rollouts.profile.ramp]
stages = "shadow 1% 25% 100%"
soak = "10m"
bake = 7200
approve = ["100%"]
freeze = "Fri 16:00 - Mon 08:00"
harm = "2%"
deadline = "7d"
auto = false

[rollouts.profile.shadow]
sample = 0.5
noise = "2%"
reverse = 0
usd_per_day = 5

[rollouts.profile.store]
sample = "10%"
ttl = "2d"

[rollouts.profile.budget]
latency = "1.5s"
tokens = 4000
usd = "$0.05"

[rollouts.profile.prices.small]
input = "0.15"
output = 0.6
cached_input = "0.0750"

[rollouts.profile.prices."big/4.1"]
input = 2
output = 1e-7

[[rollouts.profile.gates]]
kind = "errors"
worse_by = "none"
at_most = "2%"
mode = "threshold"
window = "30s"
minimum = 20
fewest = 5
consecutive = 2

[[rollouts.profile.gates]]
kind = "latency"
q = 0.99
worse_by = "150%"
at_most = "800ms"

[[rollouts.profile.gates]]
kind = "cost"
usd_per_call = "0.01"
worse_by = "20%"

[[rollouts.profile.gates]]
kind = "sla"

[[rollouts.profile.gates]]
kind = "mismatches"
mode = "sequential"
beyond_noise = true

[rollouts."other.one"]
"""


def mistakes(text: str) -> list[str]:
    with pytest.raises(SpecError) as caught:
        parse_spec(text)
    return [str(problem) for problem in caught.value.problems]


# --- what it sets


def test_every_field_arrives_as_the_store_takes_it() -> None:
    fields = parse_spec(EVERYTHING).fields("profile")
    assert set(fields) == set(SETTABLE)
    assert fields["ramp"] == {
        "stages": [0.0, 0.01, 0.25, 1.0],
        "soak_s": 600.0,
        "bake_s": 7200.0,
        "approve": [1.0],
        "freeze": ["Fri 16:00 - Mon 08:00"],
        "harm": 0.02,
        "deadline_s": 604_800.0,
        "auto": False,
    }
    assert [GateSpec.from_dict(gate) for gate in fields["gates"]] == [
        thresholds.errors(worse_by=None, at_most=0.02, window="30s", minimum=20, fewest=5, consecutive=2),
        gates.latency(q=0.99, worse_by=1.5, at_most_s=0.8),
        gates.cost(usd_per_call="0.01", worse_by=0.2),
        gates.sla(),
        gates.mismatches(beyond_noise=True),
    ]
    assert {name: fields[name] for name in SETTABLE[2:]} == {
        "budget.latency_s": 1.5,
        "budget.tokens": 4000,
        "budget.usd": "0.05",
        "prices": {"small": ["0.15", "0.6", "0.0750"], "big/4.1": ["2", "0.0000001", None]},
        "shadow.sample": 0.5,
        "shadow.noise": 0.02,
        "shadow.reverse": 0.0,
        "shadow.usd_per_day": "5",
        "store.sample": 0.1,
        "store.ttl_s": 172800.0,
    }


def test_what_is_not_named_stays_as_the_code_has_it() -> None:
    assert parse_spec(EVERYTHING).fields("other.one") == {}
    assert parse_spec('[rollouts.profile]\nshadow.sample = "5%"').fields("profile") == {"shadow.sample": 0.05}
    partly = parse_spec('[rollouts.profile.ramp]\nsoak = "5m"\nbake = "none"').fields("profile")
    assert partly == {"ramp": {"soak_s": 300.0, "bake_s": None}}
    policy = layered(Policy(rollout="profile"), partly, {"ramp": "spec"}, version=2, at=0.0)
    assert policy.ramp == Ramp(soak_s=300.0)


@pytest.mark.parametrize("kind", ["errors", "latency", "mismatches", "sla", "fallbacks"])
def test_a_gate_of_which_nothing_is_said_is_the_one_of_the_code(kind: str) -> None:
    (gate,) = parse_spec(f'[[rollouts.p.gates]]\nkind = "{kind}"').fields("p")["gates"]
    assert GateSpec.from_dict(gate) == getattr(gates, kind)()
    assert gate["mode"] == "sequential"
    (gate,) = parse_spec(f'[[rollouts.p.gates]]\nkind = "{kind}"\nmode = "threshold"').fields("p")["gates"]
    assert GateSpec.from_dict(gate) == getattr(thresholds, kind)()


@pytest.mark.parametrize("name", ["window", "minimum", "fewest", "consecutive"])
def test_what_a_sequential_gate_would_ignore_is_a_mistake(name: str) -> None:
    (problem,) = mistakes(f'[[rollouts.p.gates]]\nkind = "errors"\n{name} = 30')
    assert problem == (
        f'line 1, rollouts.p.gates[0]: a sequential gate has no {name} → delete it, or write mode = "threshold"'
    )
    assert parse_spec(f'[[rollouts.p.gates]]\nkind = "errors"\nmode = "threshold"\n{name} = 30').rollouts == ("p",)


def test_what_no_number_of_calls_can_show_is_a_mistake() -> None:
    (problem,) = mistakes('[[rollouts.p.gates]]\nkind = "mismatches"\nat_most = 0')
    assert "no number of calls can show" in problem
    assert 'mode="threshold"' in problem


def test_a_deadline_of_the_code_is_taken_away_by_the_word_none() -> None:
    fields = parse_spec('[rollouts.p.ramp]\ndeadline = "none"').fields("p")
    declared = Policy(rollout="p", ramp=Ramp(deadline_s=60.0, harm=0.01))
    policy = layered(declared, fields, {"ramp": "spec"}, version=2, at=0.0)
    assert policy.ramp == Ramp(harm=0.01)


def test_the_word_none_takes_a_limit_of_the_code_away() -> None:
    text = '[rollouts.p]\nbudget = { tokens = "none", usd = "none" }\nshadow.usd_per_day = "none"'
    fields = parse_spec(text).fields("p")
    assert fields == {"budget.tokens": None, "budget.usd": None, "shadow.usd_per_day": None}


def test_an_empty_table_of_prices_takes_those_of_an_earlier_spec_away() -> None:
    assert parse_spec("[rollouts.p.prices]").fields("p") == {"prices": {}}


@given(st.integers() | st.floats() | st.decimals().map(str) | st.from_regex(r"\d{1,9}(\.\d{1,40})?", fullmatch=True))
def test_every_price_that_is_read_is_exact_and_one_of_a_price_book(usd: float | str) -> None:
    text = f"[rollouts.p.prices.small]\ninput = {json.dumps(usd) if isinstance(usd, str) else usd!r}\noutput = 0"
    try:
        ((price, _, _),) = parse_spec(text).fields("p")["prices"].values()
    except SpecError:
        return
    assert Decimal(price) == Decimal(str(usd))
    assert PriceBook({"small": Price(price, 0)}).cost_nano("small", 1_000_000, 0) == ceil(Fraction(price) * NANO)


def test_a_rollout_that_it_does_not_name_is_an_error() -> None:
    spec = parse_spec(EVERYTHING)
    assert spec.rollouts == ("profile", "other.one")
    with pytest.raises(UnknownName, match='Did you mean "profile"'):
        spec.fields("profiles")


def test_an_empty_file_sets_nothing() -> None:
    assert parse_spec("# nothing yet\n").rollouts == ()


def test_a_number_of_shares_keeps_every_digit() -> None:
    third = 1 / 3
    fields = parse_spec(f"[rollouts.p.ramp]\nstages = [0, {third!r}, 1]").fields("p")
    assert fields["ramp"]["stages"] == [0.0, third, 1.0]


# --- mistakes

WRONG = """\
extra = 1
[rollouts.profile.ramp]
soack = "10m"
stages = "shadow 5% 200%"
soak = "ten minutes"
approve = 7
auto = "yes"
freeze = ["Fri", "Sat 9 to 5"]
[rollouts.profile.shadow]
sample = 2
[[rollouts.profile.gates]]
kind = "errors"
worse_by = "none"
[[rollouts.profile.gates]]
kind = "errers"
[[rollouts.profile.gates]]
kind = "latency"
usd = 3
q = 95
minimum = 0
window = "0s"
mode = "maybe"
[[rollouts.profile.gates]]
window = "3s"
[[rollouts.profile.gates]]
kind = "errors"
[rollouts.orders]
hard_timeout_s = 3
budget = { latency = "2h", money = 4 }
store = 5
gates = []
[rollouts.tickets]
ramp = { soak = "7%" }
budget.tokens = 0
budget.usd = -1
shadow.usd_per_day = nan
[rollouts.tickets.prices.small]
input = -0.15
inputs = 3
cached_input = "cheap"
[rollouts.tickets.prices]
"gpt-4.1" = 2
[rollouts.search]
prices = 0
budget.tokens = 1.5
"""

LINES = [
    (1, "extra", "[rollouts.NAME]"),
    (3, "soack", 'did you mean "soak"?'),
    (4, '"200%" is out of range', "between 0% and 100%"),
    (5, '"ten minutes" is not a duration', '"10m"'),
    (6, "7 is not a list of shares", '"shadow 1% 25% 100%"'),
    (7, 'auto is "yes"', "true or false"),
    (8, '"Fri" is no freeze window', "Fri 16:00 - Mon 08:00"),
    (8, '"Sat 9 to 5" is no freeze window', "Fri 16:00 - Mon 08:00"),
    (10, "2 is out of range", "between 0% and 100%"),
    (11, "it has no limit", "at_most"),
    (15, 'no gate "errers"', 'did you mean "errors"?'),
    (18, '"usd"', "use one of"),
    (19, "q is 95", "between 0 and 1"),
    (20, "minimum is 0", "whole number"),
    (21, '"0s" is out of range', "between 1ms"),
    (22, '"maybe" is not allowed', "threshold"),
    (23, "the gate has no kind", "errors, latency"),
    (25, "errors is declared twice", "keep one"),
    (28, '"hard_timeout_s"', "declared in code"),
    (29, '"2h" is out of range', "between 1ms and 1h"),
    (29, '"money"', "latency"),
    (30, "store is 5, not a table", "[rollouts.orders.store]"),
    (31, "there is no gate", "leave gates out"),
    (33, '"7%"', "write for example"),
    (34, "0 is out of range", "between 1 and"),
    (35, "-1 is out of range", "between 0 and 1000000 dollars"),
    (36, "nan is not an amount of dollars", '"0.01"'),
    (37, "the price has no output", 'output = "0.15"'),
    (38, "-0.15 is out of range", "between 0 and 1000000 dollars"),
    (39, '"inputs"', 'did you mean "input"?'),
    (40, '"cheap" is not a price', "dollars for a million tokens"),
    (42, '"gpt-4.1" is 2, not a table', '[rollouts.tickets.prices."gpt-4.1"]'),
    (44, "prices is 0, not a table", "[rollouts.search.prices]"),
    (45, "1.5 is not a number of tokens", "4000"),
]


def test_every_mistake_is_reported_with_its_line_and_the_remedy() -> None:
    found = mistakes(WRONG)
    assert len(found) == len(LINES)
    for problem, (line, what, remedy) in zip(found, LINES, strict=True):
        assert problem.startswith(f"line {line}, "), problem
        assert what in problem.partition(" → ")[0], problem
        assert remedy in problem.partition(" → ")[2], problem


@pytest.mark.parametrize(
    ("key", "what"),
    [
        ('stages = "shadow 25% 5%"', "do not rise"),
        ('stages = "1% 5%"', "must begin with shadow"),
        ('stages = "shadow"', "must begin with shadow"),
        ('stages = "shadow 1% bananas"', '"bananas" is not a share'),
        ("stages = [true]", "true is not a share"),
        ("stages = 5", "5 is not a list of shares"),
        ('stages = "shadow 100%"\napprove = "5%"', "names 5%, which is no live stage"),
        ('stages = "shadow 100%"\nfreeze = "2026-12-20 - 2026-12-01"', "ends before it begins"),
        ('stages = "shadow 100%"\nfreeze = 5', "5 is no list of windows"),
        ('stages = "shadow 100%"\nsoak = nan', "nan is not a duration"),
        ('stages = "shadow 100%"\nsoak = -1', "-1 is out of range"),
        ("harm = 0", "no step that could be shown"),
        ('harm = "0%"', "no step that could be shown"),
        ("harm = 1.5", "1.5 is out of range"),
        ('harm = "none"', '"none" is not a share'),
        ("deadline = 0", "0 is out of range"),
        ('deadline = "soon"', '"soon" is not a duration'),
        ('stages = "shadow 100%"\nsoak = 2026-01-01', "is not a duration"),
        (f'stages = "shadow 100%"\nsoak = 1{"0" * 400}', "is not a duration"),
        (f'stages = "shadow 100%"\nsoak = "{"1s" * 60}"', "is not a duration"),
    ],
)
def test_a_ramp_that_cannot_be_is_refused(key: str, what: str) -> None:
    (problem,) = mistakes(f"[rollouts.profile.ramp]\n{key}")
    assert what in problem


def test_a_text_that_is_not_toml_is_refused_with_its_line() -> None:
    assert mistakes("a = 1\nb = = 2")[0].startswith("line 2, column 5: is not TOML")
    assert mistakes("a = 1\na = 2")[0].startswith("line 2")
    assert mistakes("a = 'open")[0].startswith("line 1")
    assert "too large" in mistakes(f"a = {'9' * 5000}")[0]
    assert "nested too deeply" in mistakes("a = " + "[" * 20_000)[0]


def test_a_file_is_read_whatever_marks_its_beginning_and_its_lines(tmp_path: Path) -> None:
    file = tmp_path / "rollout.toml"
    file.write_bytes(b"\xef\xbb\xbf" + EVERYTHING.replace("\n", "\r\n").encode())
    spec = read_spec(file)
    assert spec.fields("profile") == parse_spec(EVERYTHING).fields("profile")
    assert spec.origin == "spec rollout.toml"


@pytest.mark.parametrize(
    ("content", "what"),
    [
        (None, "cannot be read"),
        (b"a = 1\nb = '\xff'", "line 2: is not UTF-8"),
        (b"#" * (2**20 + 1), "larger than 1 MiB"),
    ],
)
def test_a_file_that_cannot_be_read_is_an_error_of_the_spec(tmp_path: Path, content: bytes | None, what: str) -> None:
    file = tmp_path / "rollout.toml"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(SpecError, match=what):
        read_spec(str(file))


def test_a_path_that_no_file_can_have_is_an_error_of_the_spec() -> None:
    with pytest.raises(SpecError, match="cannot be read"):
        read_spec("a\0b")


def test_control_characters_do_not_reach_the_message() -> None:
    (problem,) = mistakes('"rollouts\\u001b[31m" = 1')
    assert problem.isprintable()


# --- against what is registered


def test_unknown_rollouts_are_reported_with_the_nearest_name() -> None:
    found = parse_spec("\n[rollouts.profil.ramp]\nstages = 'shadow 1%'").check_against(
        {"profile": Policy(rollout="profile")}
    )
    assert [str(problem) for problem in found] == [
        'line 2, rollouts.profil: There is no rollout "profil" → Did you mean "profile"?'
    ]


def test_an_approval_of_a_stage_that_the_code_has_not_is_reported() -> None:
    policies = {"profile": Policy(rollout="profile", ramp=Ramp(stages=[0, 0.1, 1]))}
    (problem,) = parse_spec("[rollouts.profile.ramp]\nsoak = 5\napprove = '5%'").check_against(policies)
    assert problem.where == "line 3, rollouts.profile.ramp.approve"
    assert "no live stage of shadow 10% 100%" in problem.what
    assert parse_spec("[rollouts.profile.ramp]\napprove = '10%'").check_against(policies) == []


def test_a_deadline_below_a_branchs_sla_is_reported() -> None:
    branch = BranchPolicy(name="orders", unit="orders", salt="profile/orders", sla_s=0.3)
    policies = {"profile": Policy(rollout="profile", branches=(branch,))}
    (problem,) = parse_spec('[rollouts.profile]\nbudget.latency = "200ms"').check_against(policies)
    assert problem.where == "line 2, rollouts.profile.budget.latency"
    assert parse_spec('[rollouts.profile]\nbudget.latency = "400ms"').check_against(policies) == []


RESERVING = BranchPolicy(
    name="summary", unit="summary", salt="s", reserve_tokens=1_000, reserve_nano=20_000_001, reserve_s=0.5
)


@pytest.mark.parametrize(
    ("low", "enough", "what"),
    [
        ('latency = "499ms"', 'latency = "500ms"', "499ms is below"),
        ("tokens = 999", "tokens = 1000", "999 is below"),
        ('usd = "0.02"', 'usd = "0.020000001"', "$0.02 is below"),
        ("tokens = 1", 'tokens = "none"', "1 is below"),
    ],
)
def test_a_budget_below_what_a_branch_reserves_is_reported(low: str, enough: str, what: str) -> None:
    policies = {"profile": Policy(rollout="profile", branches=(RESERVING,))}
    (problem,) = parse_spec(f"[rollouts.profile]\nbudget.{low}").check_against(policies)
    assert problem.where == f"line 2, rollouts.profile.budget.{low.partition(' ')[0]}"
    assert what in problem.what
    assert 'branch "summary" reserves' in problem.what
    assert "lower reserve=" in problem.remedy
    assert parse_spec(f"[rollouts.profile]\nbudget.{enough}").check_against(policies) == []


# --- the example

SHARES = st.sampled_from([0.0, 0.01, 0.001, 1 / 3, 0.123456789, 1.0]) | st.floats(0, 1)
SPANS = st.sampled_from([0.0, 0.25, 90.0, 5400.0, 3661.5]) | st.floats(0, 1e6)
HARMS = st.sampled_from([0.0025, 0.02, 1.0]) | st.floats(1e-9, 1)
LIMITS = st.sampled_from([0.001, 0.05, 1 / 3, 0.5]) | st.floats(1e-6, 0.5)
WINDOWS: st.SearchStrategy[dict[str, Any]] = st.fixed_dictionaries(
    {"mode": st.just("threshold"), "window": SPANS.map(lambda span: span + 1), "minimum": st.integers(1, 99)}
)
MAYBE_WINDOWED: st.SearchStrategy[dict[str, Any]] = st.just({}) | WINDOWS
TOKENS = st.none() | st.integers(1, 10**15)
DOLLARS = st.none() | st.integers(0, 10**15)
PRICE = st.decimals(0, 1_000_000, places=9).map("{:f}".format)
PRICES = st.dictionaries(st.sampled_from(["small", "big-4.1", 'a "b"']), st.tuples(PRICE, PRICE, st.none() | PRICE))
LIMITED = ("budget.tokens", "budget.usd", "shadow.usd_per_day", "prices")


def limits_of(policy: Policy) -> dict[str, Any]:
    """What the example of a policy sets of its limits and prices: what there is, and what a spec took away."""
    values = (policy.tokens, policy.nano, policy.nano_per_day, policy.prices)
    return {
        name: value
        for name, value in zip(LIMITED, values, strict=True)
        if value not in (None, {}) or policy.origins.get(name) == "spec a.toml"
    }


@st.composite
def policies(draw: st.DrawFn) -> Policy:
    stages = sorted({0.0, *draw(st.lists(SHARES, min_size=1, max_size=5)), 1.0})
    dollars = st.sampled_from([None, "0.000000001", "12.5"])
    chosen = [
        gates.errors(worse_by=draw(LIMITS), at_most=draw(st.none() | LIMITS)),
        thresholds.errors(worse_by=None, at_most=draw(SHARES)),
        gates.latency(worse_by=draw(SHARES), q=draw(st.floats(0.5, 0.99)), at_most_s=draw(st.none() | SPANS)),
        thresholds.latency(worse_by=None, at_most_s=draw(SPANS)),
        gates.cost(worse_by=draw(SHARES), usd_per_call=draw(dollars), **draw(MAYBE_WINDOWED)),
        gates.mismatches(at_most=draw(LIMITS), beyond_noise=draw(st.booleans())),
        thresholds.mismatches(at_most=draw(SHARES)),
        gates.sla(at_most=draw(LIMITS), **draw(MAYBE_WINDOWED)),
        gates.fallbacks(at_most=draw(LIMITS), **draw(MAYBE_WINDOWED)),
    ]
    return Policy(
        rollout="profile",
        ramp=Ramp(
            stages=stages,
            soak_s=draw(SPANS),
            bake_s=draw(st.none() | SPANS),
            approve=draw(st.lists(st.sampled_from(stages[1:]), max_size=2)),
            freeze=draw(st.lists(st.sampled_from(["Fri 16:00 - Mon 08:00", "2026-12-20 - 2027-01-02"]), max_size=2)),
            harm=draw(HARMS),
            deadline_s=draw(st.none() | SPANS.map(lambda span: span + 0.001)),
            auto=draw(st.booleans()),
        ),
        gates=draw(st.lists(st.sampled_from(chosen), min_size=1, unique_by=lambda gate: gate.name)),
        latency_s=draw(st.floats(0.001, 3600)),
        tokens=draw(TOKENS),
        nano=draw(DOLLARS),
        nano_per_day=draw(DOLLARS),
        prices=draw(PRICES),
        origins=draw(st.dictionaries(st.sampled_from(LIMITED), st.sampled_from(["code", "default", "spec a.toml"]))),
        sample=draw(SHARES),
        noise=draw(SHARES),
        reverse=draw(SHARES),
        store_sample=draw(SHARES),
        ttl_s=draw(st.floats(1, 1e8)),
    )


@settings(deadline=None)
@given(policies(), st.sampled_from(["profile", "a.b", "A-1_x"]))
def test_the_example_of_a_policy_sets_exactly_what_is_in_force(policy: Policy, name: str) -> None:
    text = example({name: policy})
    spec = parse_spec(text)
    fields = spec.fields(name)
    then = layered(Policy(rollout=name), fields, dict.fromkeys(fields, "spec a.toml"), version=2, at=0.0)
    assert limits_of(then) == limits_of(policy)
    unlimited = {field: value for field, value in fields.items() if field not in LIMITED}
    assert unlimited | {"ramp": policy.ramp.to_dict() | fields["ramp"]} == {
        "ramp": policy.ramp.to_dict(),
        "gates": [gate.to_dict() for gate in policy.gates],
        "budget.latency_s": policy.latency_s,
        "shadow.sample": policy.sample,
        "shadow.noise": policy.noise,
        "shadow.reverse": policy.reverse,
        "store.sample": policy.store_sample,
        "store.ttl_s": policy.ttl_s,
    }
    assert accepts(json_schema(), tomllib.loads(text))


def test_the_example_of_nothing_is_a_whole_spec() -> None:
    spec = parse_spec(example())
    assert spec.rollouts == ("profile",)
    assert set(spec.fields("profile")) == set(SETTABLE) - set(LIMITED)
    assert max(map(len, example().splitlines())) <= 120


def test_the_example_without_its_comment_marks_shows_every_field() -> None:
    text = re.sub(r"(?m)^# (?=\[|\w+ = )", "", example())
    assert set(parse_spec(text).fields("profile")) == set(SETTABLE)


# --- the schema


def test_the_schema_accepts_what_the_reader_accepts() -> None:
    schema = json_schema()
    assert schema["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    for text in (EVERYTHING, example(), "", "[rollouts.x]"):
        assert accepts(schema, tomllib.loads(text))


@pytest.mark.parametrize(
    "text",
    [
        "extra = 1",
        "rollouts = 3",
        '[rollouts.p.ramp]\nsoak = "7%"',
        '[rollouts.p.ramp]\nstages = "shadow 1%"\nsoack = "10m"',
        '[rollouts.p.ramp]\nstages = "shadow 1%"\nsoak = "ten"',
        '[rollouts.p.ramp]\nstages = "shadow bananas"',
        '[rollouts.p.ramp]\nstages = "shadow 1%"\nauto = "yes"',
        "[rollouts.p.shadow]\nsample = 2",
        '[rollouts.p.shadow]\nsample = "200%"',
        "[rollouts.p.ramp]\nharm = 0",
        '[rollouts.p.ramp]\nharm = "2"',
        "[rollouts.p.ramp]\ndeadline = 0",
        '[[rollouts.p.gates]]\nkind = "errors"\nbeyond_noise = true',
        "[rollouts.p.budget]\nlatency = 0",
        "[rollouts.p]\ngates = []",
        "[rollouts.p.budget]\ntokens = 0",
        "[rollouts.p.budget]\ntokens = 1.5",
        "[rollouts.p.budget]\nusd = -1",
        '[rollouts.p.shadow]\nusd_per_day = "much"',
        "[rollouts.p.prices]\nsmall = 3",
        "[rollouts.p.prices.small]\ninput = 3",
        "[rollouts.p.prices.small]\ninput = 3\noutput = -1",
        '[rollouts.p.prices.small]\ninput = 3\noutput = "NaN"',
        '[[rollouts.p.gates]]\nkind = "errers"',
        "[[rollouts.p.gates]]\nminimum = 5",
        '[[rollouts.p.gates]]\nkind = "errors"\nminimum = 0',
        '[[rollouts.p.gates]]\nkind = "errors"\nq = 0.5',
        '[[rollouts.p.gates]]\nkind = "latency"\nq = 95',
        '[[rollouts.p.gates]]\nkind = "errors"\nmode = "maybe"',
    ],
)
def test_the_schema_rejects_what_the_reader_rejects(text: str) -> None:
    assert mistakes(text)
    assert not accepts(json_schema(), tomllib.loads(text))


# --- hostile text


def read(text: str) -> list[Problem]:
    """Reads it, and looks at every problem."""
    problems: tuple[Problem, ...] = ()
    try:
        parse_spec(text)
    except SpecError as error:
        problems = error.problems or (Problem("", "", ""),)
    assert all(problem.what and problem.remedy for problem in problems)
    assert all(len(str(problem)) < 600 and str(problem).isprintable() for problem in problems)
    return list(problems)


@settings(deadline=None)
@given(st.text())
def test_any_text_is_a_spec_or_a_mistake(text: str) -> None:
    read(text)


@settings(deadline=None)
@given(TABLES, st.integers(0, 10**6))
def test_any_toml_is_a_spec_or_a_mistake_with_a_line(data: dict[str, Any], style: int) -> None:
    assert all(problem.where.startswith("line ") for problem in read(Writer(style).write(data)))


@settings(deadline=None)
@given(st.dictionaries(st.sampled_from(["profile", "a.b", ""]), TABLES, max_size=2), st.integers(0, 10**6))
def test_any_rollout_is_a_spec_or_a_mistake_with_a_line(rollouts: dict[str, Any], style: int) -> None:
    assert all(problem.where.startswith("line ") for problem in read(Writer(style).write({"rollouts": rollouts})))


def test_a_window_with_a_control_character_is_quoted_without_it() -> None:
    (problem,) = read('[rollouts.profile.ramp]\nfreeze = ["Fri \\u0080 16:00"]\n')
    assert "?" in problem.what


@settings(deadline=None)
@given(st.data())
def test_any_damaged_spec_is_a_spec_or_a_mistake(data: st.DataObject) -> None:
    text = EVERYTHING
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(text)))
        length = data.draw(st.integers(0, 12))
        text = (
            text[:at]
            + data.draw(st.text(max_size=3) | st.sampled_from(['"', "[", "]", "=", "\n", "'''"]))
            + text[at + length :]
        )
    read(text)
