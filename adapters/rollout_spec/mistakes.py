"""What pydantic found wrong, as letters to the person who wrote the file: the line, the key, the value, the remedy."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from difflib import get_close_matches
from typing import Any

from pydantic_core import ErrorDetails

from rollout.errors import Problem

from .lines import Place, line_of
from .model import GATES, BudgetTable, PriceTable, RampTable, RolloutTable, ShadowTable, StoreTable, Table
from .values import shown

_TABLES: Mapping[str, type[Table]] = {
    "ramp": RampTable,
    "shadow": ShadowTable,
    "store": StoreTable,
    "budget": BudgetTable,
}


def problems(errors: Sequence[ErrorDetails], data: Mapping[str, Any], lines: Mapping[Place, int]) -> list[Problem]:
    """Every mistake in the order of the file. ``data``: the file as ``tomllib`` read it."""
    found = list(_doubles(data))
    for error in errors:
        place = _place(error["loc"], data) + (("kind",) if error["type"] == "union_tag_invalid" else ())
        found += [(place, what) for what in _what(error, place, data)]
    found.sort(key=lambda item: (line_of(lines, item[0]) or 0, str(item[0])))
    return [Problem(where(place, lines), printable(what), printable(remedy)) for place, (what, remedy) in found]


def where(place: Place, lines: Mapping[Place, int]) -> str:
    """``line 12, rollouts.profile.ramp.soak``."""
    line = line_of(lines, place)
    name = "".join(f"[{step}]" if isinstance(step, int) else f".{shown_key(step)}" for step in place).removeprefix(".")
    return ", ".join([*([f"line {line}"] if line else []), *([name] if name else [])]) or "the file"


def printable(text: str) -> str:
    """The sentence without control characters: it may quote what stands in the file."""
    return "".join(letter if letter.isprintable() else "?" for letter in text)


def shown_key(key: str) -> str:
    plain = key.replace("_", "").replace("-", "").isalnum() and key.isascii() and len(key) <= 63
    return key if plain else shown(key)


def nearest(name: str, known: Sequence[str], otherwise: str) -> str:
    """The remedy for a name that does not exist."""
    near = get_close_matches(name[:100], known, n=1, cutoff=0.6)
    return f'did you mean "{near[0]}"?' if near else otherwise


def _place(loc: Sequence[str | int], data: Any) -> Place:
    """A place in the file of pydantic's location, which also names the kind of a gate as if it were a key."""
    place: list[str | int] = []
    tagged = False
    for index, step in enumerate(loc):
        if not tagged and isinstance(data, Mapping) and data.get("kind") == step and isinstance(loc[index - 1], int):
            tagged = True
            continue
        place.append(step)
        known = step in data if isinstance(data, Mapping) else isinstance(data, list) and step in range(len(data))
        data = data[step] if known else None
    return tuple(place)


def _what(error: ErrorDetails, place: Place, data: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """(what is wrong, what to do), once or several times."""
    value, limits = shown(error["input"]), error.get("ctx", {})
    name = shown_key(str(place[-1])) if place else "the file"
    match error["type"]:
        case "refused":
            for problem in limits["problems"]:
                what, _, remedy = str(problem).rpartition("; ")
                yield (what, remedy) if what else (remedy, "mend it")
        case "extra_forbidden":
            yield f'there is no key "{name}" here', _remedy_for_key(str(place[-1]), place, data)
        case "union_tag_not_found":
            yield "the gate has no kind", f"name one of {', '.join(GATES)}"
        case "union_tag_invalid":
            kind = error["input"]["kind"]
            otherwise = f"use one of {', '.join(GATES)}"
            yield f"there is no gate {shown(kind)}", nearest(str(kind), list(GATES), otherwise)
        case "missing":
            yield f"the price has no {name}", f'write {name} = "0.15", dollars for a million tokens'
        case "bool_type":
            yield f"{name} is {value}", "write true or false"
        case "int_type" | "greater_than_equal" | "less_than_equal" | "int_from_float":
            yield f"{name} is {value}", "write a whole number between 1 and 1000000000"
        case "float_type" | "greater_than" | "less_than":
            yield f"{name} is {value}", "write a number between 0 and 1, as 0.95"
        case "model_type" | "model_attributes_type" | "dict_type":
            header = ".".join(shown_key(step) for step in place if isinstance(step, str))
            yield f"{name} is {value}, not a table", f"write [{header}] and its keys below"
        case "list_type":
            yield f"{name} is not a list of tables", "write [[rollouts.NAME.gates]] for each gate"
        case "too_short":
            yield "there is no gate, so nothing could ever roll it back", "name at least one, or leave gates out"
        case _:
            yield f"{name} is {value}: {error['msg']}", "see `rollout config schema` for what is allowed"


def _remedy_for_key(key: str, place: Place, data: Mapping[str, Any]) -> str:
    match place:
        case [_]:
            return "everything stands below [rollouts.NAME]"
        case ["rollouts", _, _]:
            known = list(RolloutTable.model_fields)
            return nearest(key, known, f"a spec sets {', '.join(known)}; everything else is declared in code")
        case ["rollouts", str(rollout), "gates", int(index), _]:
            known = list(GATES[data["rollouts"][rollout]["gates"][index]["kind"]].model_fields)
        case ["rollouts", _, "prices", _, _]:
            known = list(PriceTable.model_fields)
        case ["rollouts", _, str(table), _]:
            known = list(_TABLES[table].model_fields)
        case _:
            return "remove it"
    return nearest(key, known, f"use one of {', '.join(known)}")


def _doubles(data: Mapping[str, Any]) -> Iterator[tuple[Place, tuple[str, str]]]:
    """Gates of one rollout that have the same kind and quantile, whatever else is wrong with them."""
    rollouts = data.get("rollouts")
    for name, table in rollouts.items() if isinstance(rollouts, Mapping) else ():
        gates = table.get("gates") if isinstance(table, Mapping) else None
        seen: set[str] = set()
        for index, gate in enumerate(gates if isinstance(gates, list) else ()):
            if not isinstance(gate, Mapping) or gate.get("kind") not in tuple(GATES):
                continue
            kind = str(gate["kind"])
            which = f"{kind} {gate.get('q', 0.95)!r}" if kind == "latency" else kind
            if which in seen:
                what = f"the gate {kind} is declared twice"
                yield ("rollouts", name, "gates", index), (what, "keep one of each kind and quantile")
            seen.add(which)
