"""What models cost: prices per million tokens, and the book that turns tokens into nano-dollars.

    book = PriceBook({"small": Price("0.15", "0.60", cached_input_usd="0.075")})
    book.cost_nano("small-2024-07-18", 1_000, 200)  # 270_000: $0.00027

A model that the book does not know has no cost (None), never a cost of 0. A declared price of 0 is a cost of 0.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from decimal import Decimal, InvalidOperation
from fractions import Fraction
from math import ceil
from typing import Final

from rollout.domain.cost import NANO, Usage

#: ``(model, input_tokens, output_tokens, cached_tokens)`` → nano-dollars, or None where it does not know the model.
#: The ``cost_nano`` of another book is one.
Fallback = Callable[[str, int, int, int], "int | None"]

_HIGHEST_USD: Final = 1_000_000  # a dollar a token: above it, somebody wrote the price of a token, or nano-dollars
_DECIMALS: Final = 30  # a float has at most 17 digits; 1e-999999 would make sums of a million digits
#: What follows a name and leaves the model the same: a date, a number of a build, "latest"; a tag or an @version.
_VERSION: Final = re.compile(r"(-(\d{4}-\d{2}-\d{2}|\d{3,8}|latest))?([:@].+)?", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Price:
    """Dollars for a million tokens: ``Price("2.50", "10")``.

    * ``input_usd``, ``output_usd``: 0 to 1,000,000; text, a ``Decimal``, or a number, taken as it is written.
    * ``cached_input_usd``: for input that is read from a cache of prompts. Default None: ``input_usd``.

    Nothing is checked here; ``PriceBook`` reports what is wrong, with the name of the model.
    """

    input_usd: str | float | Decimal
    output_usd: str | float | Decimal
    cached_input_usd: str | float | Decimal | None = None


class PriceBook:
    """The prices of models, by name.

    * ``prices``: the name of a model → its price.
    * ``fallback``: asked for the cost where ``prices`` has no price. Default None: such a cost is unknown.

    A name is looked up as it is; then without its version: the longest declared name before a ``-``, ``:`` or ``@``,
    where the rest is a date or number of a build (``-2024-07-18``, ``-20250514``, ``-0613``), ``-latest``, a ``:tag``
    or an ``@version``. So ``gpt-4o-2024-08-06`` is ``gpt-4o``; ``gpt-4o-mini`` is a model of its own.

    ``ValueError`` names every model with a price that is negative, NaN, infinite, above the range or no number.
    """

    __slots__ = ("_fallback", "_longest", "_rates")

    def __init__(self, prices: Mapping[str, Price], fallback: Fallback | None = None) -> None:
        if problems := [problem for model, price in prices.items() for problem in _problems(model, price)]:
            raise ValueError("; ".join(problems))
        self._rates = {model: _Rates.of(price) for model, price in prices.items()}
        self._longest = max(map(len, prices), default=0)
        self._fallback = fallback

    def cost_nano(self, model: str, input_tokens: int, output_tokens: int, cached_tokens: int = 0) -> int | None:
        """What one call cost, in nano-dollars: exact, and rounded up once, at the end, to the next whole one.

        None: the model is unknown. ``cached_tokens`` are part of ``input_tokens``. ``ValueError`` for a negative count,
        and for more cached tokens than there is input.
        """
        if input_tokens < 0 or output_tokens < 0 or not 0 <= cached_tokens <= input_tokens:
            raise ValueError(
                f"a call of {model} cannot use {input_tokens} tokens of input ({cached_tokens} of them cached) and"
                f" {output_tokens} of output; counts are 0 or more, and what is cached is part of the input"
            )
        rates = self._rates_of(model)
        if rates is not None:
            return rates.cost(input_tokens, output_tokens, cached_tokens)
        return self._fallback(model, input_tokens, output_tokens, cached_tokens) if self._fallback else None

    def _rates_of(self, model: str) -> _Rates | None:
        rates = self._rates.get(model)
        if rates is not None:
            return rates
        for end in range(min(len(model) - 1, self._longest), 0, -1):
            if model[end] in "-:@" and model[:end] in self._rates and _VERSION.fullmatch(model, end):
                return self._rates[model[:end]]
        return None


def priced(usage: Usage, book: PriceBook) -> Usage:
    """The usage with its cost, where that is unknown and the book knows the model; else the usage as it is.

    A usage that adds up several models stays unknown: nobody knows which tokens were whose. So does one without tokens.
    """
    used = usage.input_tokens or usage.output_tokens
    if usage.nano is not None or not (usage.model and used and usage.priceable):
        return usage
    nano = book.cost_nano(usage.model, usage.input_tokens, usage.output_tokens, usage.cached_tokens)
    return usage if nano is None else replace(usage, nano=nano, priced=True)


@dataclass(frozen=True, slots=True)
class _Rates:
    """Nano-dollars of one token; fractions, since ``Decimal`` rounds to 28 digits."""

    input: Fraction
    output: Fraction
    cached: Fraction

    @classmethod
    def of(cls, price: Price) -> _Rates:
        cached = price.input_usd if price.cached_input_usd is None else price.cached_input_usd
        return cls(_rate(price.input_usd), _rate(price.output_usd), _rate(cached))

    def cost(self, input_tokens: int, output_tokens: int, cached_tokens: int) -> int:
        fresh = input_tokens - cached_tokens
        return ceil(fresh * self.input + cached_tokens * self.cached + output_tokens * self.output)


def _rate(usd: str | float | Decimal) -> Fraction:
    return Fraction(Decimal(str(usd))) * NANO / 1_000_000


def _problems(model: str, price: Price) -> Iterator[str]:
    for name in ("input_usd", "output_usd", "cached_input_usd"):
        usd = getattr(price, name)
        if not (_is_price(usd) or (usd is None and name == "cached_input_usd")):
            yield (
                f"the price of {model} has {name}={usd!r}; give dollars for a million tokens,"
                f" 0 to {_HIGHEST_USD:,} with at most {_DECIMALS} decimals"
            )


def _is_price(usd: object) -> bool:
    try:
        amount = Decimal(str(usd))
    except InvalidOperation:
        return False
    exponent = amount.as_tuple().exponent
    return isinstance(exponent, int) and exponent >= -_DECIMALS and 0 <= amount <= _HIGHEST_USD
