"""The names of spans, events and attributes: those of the conventions in force where there are some, else our own; and
all of them in the README.
"""

from __future__ import annotations

import importlib
import re
import sys
from pathlib import Path

import pytest
from opentelemetry.semconv._incubating.attributes import feature_flag_attributes, gen_ai_attributes
from opentelemetry.semconv.attributes import error_attributes

from rollout.domain.flags import NO_ANSWER
from rollout_otel.names import ATTRIBUTES, EVENTS, FLAG_ATTRIBUTES, attributes_of, flag_attributes_of

README = (Path(__file__).resolve().parents[2] / "README.md").read_text(encoding="utf-8")
OURS = re.compile(r"rolloutkit(\.[a-z]+(_[a-z]+)*)+")
CONVENTIONS = {
    value
    for module in (feature_flag_attributes, gen_ai_attributes, error_attributes)
    for name, value in vars(module).items()
    if name.isupper() and isinstance(value, str)
}


@pytest.mark.parametrize("name", sorted({*ATTRIBUTES.values(), *FLAG_ATTRIBUTES.values()}))
def test_an_attribute_is_of_the_conventions_or_ours(name: str) -> None:
    assert name in CONVENTIONS or OURS.fullmatch(name)


def test_no_attribute_is_the_namespace_of_another() -> None:
    names = {*ATTRIBUTES.values(), *FLAG_ATTRIBUTES.values()}
    assert not [(name, other) for name in names for other in names if other.startswith(f"{name}.")]


def test_an_event_is_the_one_of_the_conventions_or_ours() -> None:
    assert EVENTS["flag"] == "feature_flag.evaluation"
    assert all(OURS.fullmatch(name) for event, name in EVENTS.items() if event != "flag")


@pytest.mark.parametrize("name", sorted({*ATTRIBUTES.values(), *FLAG_ATTRIBUTES.values(), *EVENTS.values()}))
def test_the_readme_names_it(name: str) -> None:
    assert f"`{name}`" in README


@pytest.mark.parametrize("reason", NO_ANSWER)
def test_no_answer_of_a_flag_is_an_error_with_a_type(reason: str) -> None:
    found = flag_attributes_of({"rollout": "profile", "flag": "profile", "value": "off", "reason": reason})
    assert found["feature_flag.result.reason"] == "error"
    assert found["error.type"]


@pytest.mark.parametrize("reason", ["", "other"])
def test_a_reason_that_nobody_knows_is_unknown(reason: str) -> None:
    found = flag_attributes_of({"flag": "profile", "value": "auto", "reason": reason, "provider": "", "caller": ""})
    assert found == {
        "feature_flag.key": "profile",
        "feature_flag.result.variant": "auto",
        "feature_flag.result.reason": "unknown",
    }


def test_tokens_that_were_counted_as_none_are_said_and_a_model_that_nobody_named_is_not() -> None:
    found = attributes_of({"input_tokens": 0, "output_tokens": 0, "cached_tokens": 0, "usd": 0.0, "model": ""})
    assert found == {"gen_ai.usage.input_tokens": 0, "gen_ai.usage.output_tokens": 0, "rolloutkit.usage.usd": 0.0}


def test_without_the_library_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "opentelemetry", None)
    for name in ("rollout_otel", "rollout_otel.tracing"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    with pytest.raises(ImportError, match=r'pip install "rollout-kit\[otel\]"'):
        importlib.import_module("rollout_otel")
