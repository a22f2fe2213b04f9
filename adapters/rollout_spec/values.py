"""The values of a spec file as people write them, with what is allowed and its JSON Schema."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from decimal import Decimal
from typing import Annotated, Any, Final

from pydantic import Field, PlainValidator, WithJsonSchema
from pydantic_core import PydanticCustomError

from rollout.domain.cost import nano_usd, usd_of
from rollout.domain.durations import duration_text, seconds
from rollout.domain.gates import MODES
from rollout.domain.ramp import Ramp, parse_window

NONE: Final = "none"
_PERCENT: Final = re.compile(r"\s*(\d+(?:\.\d+)?)\s*%\s*", re.ASCII)
_TIME: Final = re.compile(r"\s*(?:\d+(?:\.\d+)?\s*(?:ms|s|m|h|d|w)\s*)+", re.ASCII | re.IGNORECASE)
_MONEY: Final = re.compile(r"\s*\$?(\d+(?:\.\d+)?)\s*", re.ASCII)
_MOST_TOKENS: Final = 10**15
_MOST_DECIMALS: Final = 30  # as a ``PriceBook`` takes them


def refuse(*problems: str) -> PydanticCustomError:
    """An error of one key. Each problem is ``"what is wrong; what to do"``."""
    return PydanticCustomError("refused", "{problems}", {"problems": list(problems)})


def shown(value: object) -> str:
    """A value of the file in a message: as it was written, more or less; at most 60 characters."""
    text = f'"{value}"' if isinstance(value, str) else str(value).lower() if isinstance(value, bool) else repr(value)
    text = "".join(letter if letter.isprintable() else "?" for letter in text[:200])
    return text if len(text) <= 60 else f"{text[:59]}…"


def number(value: object) -> float | None:
    """A plain number, or None for anything else: a boolean, NaN, an infinity, an integer that no float can hold."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    return float(value) if abs(value) < 1e300 else None


def read_share(value: object, most: float = 1.0) -> float:
    """A share of ``"25%"`` or ``0.25``."""
    found = number(value)
    if isinstance(value, str) and (match := _matched(_PERCENT, value)):
        found = round(float(match[1]) / 100, 6)
    if found is None:
        raise refuse(f'{shown(value)} is not a share; write for example "1%" or 0.01')
    if not 0 <= found <= most:
        upper = "100%" if most == 1 else f"{most:.0%}"
        raise refuse(f'{shown(value)} is out of range; a share lies between 0% and {upper}, as "1%" or 0.01')
    return found


def read_harm(value: object) -> float:
    """A harm budget of ``"0.25%"`` or ``0.0025``: a share above 0."""
    found = read_share(value)
    if not found:
        raise refuse(f'{shown(value)} leaves no step that could be shown to be safe; write for example "0.25%"')
    return found


def read_excess(value: object) -> float:
    """A relative excess of ``"150%"`` or ``1.5``."""
    return read_share(value, most=100.0)


def read_duration(value: object, least: float = 0.0, most: float = 1e9) -> float:
    """Seconds of ``"90s"``, ``"1h30m"`` or a number."""
    found = number(value)
    if isinstance(value, str) and _matched(_TIME, value):
        found = seconds(value)
    if found is None:
        raise refuse(f'{shown(value)} is not a duration; write for example "90s", "10m" or "1h30m"')
    if not least <= found <= most:
        raise refuse(f"{shown(value)} is out of range; it lies between {_span(least)} and {_span(most)}")
    return found


def read_dollars(value: object) -> Decimal:
    """An amount of dollars of ``"0.01"`` or of a number, to the nano-dollar."""
    found = number(value)
    if isinstance(value, str) and (match := _matched(_MONEY, value)):
        found = float(match[1])
    if found is None:
        raise refuse(f'{shown(value)} is not an amount of dollars; write for example "0.01"')
    if not 0 <= found <= 1e6:
        raise refuse(f'{shown(value)} is out of range; it lies between 0 and 1000000 dollars, as "0.01"')
    return usd_of(nano_usd(found))


def dollars_text(usd: Decimal) -> str:
    """``"0.05"``: exact, without zeros at the end, and never 5E-2."""
    return f"{usd.normalize():f}"


def read_price(value: object) -> str:
    """Dollars for a million tokens of ``"0.15"`` or of a number: exact, digit by digit as they are written."""
    amount = None
    if number(value) is not None:
        amount = abs(Decimal(str(value))) if value == 0 else Decimal(str(value))  # TOML has a -0.0
    elif isinstance(value, str) and (match := _matched(_MONEY, value)):
        amount = Decimal(match[1])
    if amount is None:
        raise refuse(f'{shown(value)} is not a price; write dollars for a million tokens, for example "0.15"')
    if not 0 <= amount <= 1_000_000:
        raise refuse(f"{shown(value)} is out of range; it lies between 0 and 1000000 dollars for a million tokens")
    text = f"{amount:f}"
    if len(text.partition(".")[2]) > _MOST_DECIMALS:
        raise refuse(f"{shown(value)} has too many digits; write at most {_MOST_DECIMALS} decimals")
    return text


def read_tokens(value: object) -> int:
    """A number of tokens."""
    if isinstance(value, bool) or not isinstance(value, int):
        raise refuse(f"{shown(value)} is not a number of tokens; write for example 4000")
    if not 1 <= value <= _MOST_TOKENS:
        raise refuse(f"{shown(value)} is out of range; it lies between 1 and {_MOST_TOKENS} tokens, as 4000")
    return value


def read_shares(value: object) -> tuple[float, ...]:
    """Shares of ``"shadow 1% 5%"`` or ``["shadow", "1%", 0.05]``."""
    if isinstance(value, str):
        words: list[object] = list(value.replace(",", " ").replace("→", " ").split())
    elif isinstance(value, list):
        words = value
    else:
        raise refuse(f'{shown(value)} is not a list of shares; write for example "shadow 1% 25% 100%"')
    found, problems = [], []
    for word in words:
        try:
            shadow = isinstance(word, str) and word.strip().lower() == "shadow"
            found.append(0.0 if shadow else read_share(word))
        except PydanticCustomError as error:
            problems += problems_of(error)
    if problems:
        raise refuse(*problems)
    return tuple(found)


def read_stages(value: object) -> tuple[float, ...]:
    """The stages of a ramp."""
    stages = read_shares(value)
    if problems := Ramp(stages=stages).problems():
        raise refuse(*problems)
    return stages


def read_windows(value: object) -> tuple[str, ...]:
    """Freeze windows: one text, or several."""
    windows = [value] if isinstance(value, str) else value
    if not isinstance(windows, list):
        raise refuse(f'{shown(value)} is no list of windows; write ["Fri 16:00 - Mon 08:00"]')
    problems = []
    for window in windows:
        try:
            parse_window(window if isinstance(window, str) else shown(window))
        except (ValueError, OverflowError) as error:
            problems.append(str(error) if isinstance(error, ValueError) else f"{shown(window)} is no freeze window")
    if problems:
        raise refuse(*problems)
    return tuple(windows)


def _matched(pattern: re.Pattern[str], value: str) -> re.Match[str] | None:
    return pattern.fullmatch(value) if len(value) <= 100 else None


def problems_of(error: PydanticCustomError) -> list[str]:
    return list((error.context or {}).get("problems", ()))


def optional(read: Callable[[object], Any]) -> Callable[[object], Any]:
    """``read``, or None for the word ``none``: TOML has no null."""
    return lambda value: None if value == NONE else read(value)


def _span(value: float) -> str:
    return "no limit" if value >= 1e9 else duration_text(value)


def _one_of(words: Sequence[str]) -> Callable[[object], str]:
    def read(value: object) -> str:
        if value not in words:
            raise refuse(f"{shown(value)} is not allowed; use {' or '.join(words)}")
        return str(value)

    return read


def _either(*schemas: dict[str, Any]) -> WithJsonSchema:
    return WithJsonSchema({"anyOf": list(schemas)})


_NONE_SCHEMA: Final = {"const": NONE}
_PERCENT_SCHEMA: Final = {"type": "string", "pattern": r"^\s*(100(\.0+)?|[0-9]{1,2}(\.[0-9]+)?)\s*%\s*$"}
_EXCESS_SCHEMA: Final = {"type": "string", "pattern": r"^\s*[0-9]+(\.[0-9]+)?\s*%\s*$"}
_SHARE_SCHEMA: Final = {"type": "number", "minimum": 0, "maximum": 1}
_TIME_SCHEMA: Final = {"type": "string", "pattern": r"^\s*([0-9]+(\.[0-9]+)?\s*([mM][sS]|[sSmMhHdDwW])\s*)+$"}
_MONEY_SCHEMA: Final = {"type": "string", "pattern": r"^\s*\$?[0-9]+(\.[0-9]+)?\s*$"}
_NUMBER_SCHEMA: Final = {"type": "number", "minimum": 0}
_PRICE_SCHEMA: Final = {"type": "number", "minimum": 0, "maximum": 1_000_000}
_TOKENS_SCHEMA: Final = {"type": "integer", "minimum": 1, "maximum": _MOST_TOKENS}
_SHARES_SCHEMA: Final = {
    "anyOf": [
        {"type": "string", "pattern": r"^[\s,→]*(([sS][hH][aA][dD][oO][wW]|[0-9]+(\.[0-9]+)?%)[\s,→]*)+$"},
        {"type": "array", "items": {"anyOf": [_SHARE_SCHEMA, _PERCENT_SCHEMA, {"const": "shadow"}]}},
    ]
}


Share = Annotated[float, PlainValidator(read_share), _either(_SHARE_SCHEMA, _PERCENT_SCHEMA)]
Harm = Annotated[
    float,
    PlainValidator(read_harm),
    _either({"type": "number", "exclusiveMinimum": 0, "maximum": 1}, _PERCENT_SCHEMA),
]
MaybeShare = Annotated[
    float | None, PlainValidator(optional(read_share)), _either(_SHARE_SCHEMA, _PERCENT_SCHEMA, _NONE_SCHEMA)
]
MaybeExcess = Annotated[
    float | None,
    PlainValidator(optional(read_excess)),
    _either({"type": "number", "minimum": 0, "maximum": 100}, _EXCESS_SCHEMA, _NONE_SCHEMA),
]
MaybeDuration = Annotated[
    float | None, PlainValidator(optional(read_duration)), _either(_NUMBER_SCHEMA, _TIME_SCHEMA, _NONE_SCHEMA)
]
MaybeDollars = Annotated[
    Decimal | None, PlainValidator(optional(read_dollars)), _either(_NUMBER_SCHEMA, _MONEY_SCHEMA, _NONE_SCHEMA)
]
MaybeTokens = Annotated[int | None, PlainValidator(optional(read_tokens)), _either(_TOKENS_SCHEMA, _NONE_SCHEMA)]
Price = Annotated[str, PlainValidator(read_price), _either(_PRICE_SCHEMA, _MONEY_SCHEMA)]
Stages = Annotated[tuple[float, ...], PlainValidator(read_stages), WithJsonSchema(_SHARES_SCHEMA)]
Shares = Annotated[tuple[float, ...], PlainValidator(read_shares), WithJsonSchema(_SHARES_SCHEMA)]
Windows = Annotated[
    tuple[str, ...],
    PlainValidator(read_windows),
    _either({"type": "string"}, {"type": "array", "items": {"type": "string"}}),
]
GateMode = Annotated[str, PlainValidator(_one_of(MODES)), WithJsonSchema({"enum": list(MODES)})]
Count = Annotated[int, Field(strict=True, ge=1, le=1_000_000_000)]
Quantile = Annotated[float, Field(strict=True, gt=0, lt=1)]
Flag = Annotated[bool, Field(strict=True)]


def duration(least: float = 0.0, most: float = 1e9) -> tuple[PlainValidator, WithJsonSchema]:
    """The validator and schema of a duration between two bounds in seconds, both included."""
    schema = {"type": "number", "minimum": least, "maximum": most}
    return PlainValidator(lambda value: read_duration(value, least, most)), _either(schema, _TIME_SCHEMA)


_LEAST_DEADLINE: Final = 1e-3
Deadline = Annotated[
    float | None,
    PlainValidator(optional(lambda value: read_duration(value, _LEAST_DEADLINE))),
    _either({"type": "number", "minimum": _LEAST_DEADLINE}, _TIME_SCHEMA, _NONE_SCHEMA),
]
_soak, _window, _latency, _ttl = duration(), duration(1e-3), duration(1e-3, 3600.0), duration(1.0, 10 * 366 * 86400.0)
Soak = Annotated[float, _soak[0], _soak[1]]
WindowSpan = Annotated[float, _window[0], _window[1]]
Latency = Annotated[float, _latency[0], _latency[1]]
Ttl = Annotated[float, _ttl[0], _ttl[1]]
