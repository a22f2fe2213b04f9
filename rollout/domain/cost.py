"""Money and tokens. Inside, dollars are integer nano-dollars (10⁻⁹ $), so that sums are exact; outside, ``Decimal``.

Unknown is a value of its own (None) and never becomes zero.
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal, InvalidOperation, Overflow
from math import floor, log10

NANO = 1_000_000_000


def nano_usd(usd: str | float | Decimal) -> int:
    """Nano-dollars of an amount of dollars, rounded half even. ``ValueError`` if negative, NaN, infinite or not a
    number.
    """
    try:
        amount = Decimal(str(usd)).scaleb(9)
    except (InvalidOperation, Overflow):
        raise ValueError(f'"{usd}" is not an amount of dollars; write for example "0.05"') from None
    if not amount.is_finite() or amount < 0:
        raise ValueError(f"{usd} is not an amount of dollars; it must be 0 or more and finite")
    return int(amount.to_integral_value())


def usd_of(nano: int) -> Decimal:
    """Dollars of nano-dollars, exact."""
    return Decimal(nano).scaleb(-9)


def usd_text(nano: float | None) -> str:
    """``"$0.0042"``, or ``"unknown"`` for None; small amounts keep three significant digits."""
    if nano is None:
        return "unknown"
    if nano == 0:
        return "$0"
    sign, dollars = "-" if nano < 0 else "", abs(float(nano)) / NANO
    if dollars >= 0.9995:
        return f"{sign}${dollars:,.2f}"
    digits = 2 - floor(log10(dollars))  # three significant ones, never 4.2e-05
    return f"{sign}${dollars:.{digits}f}".rstrip("0")


@dataclass(slots=True)
class Usage:
    """What one run used: tokens, and its cost in nano-dollars (None: unknown). Mutable only while the run lasts.

    ``cached_tokens``: those of ``input_tokens`` that were read from a cache of prompts.
    """

    input_tokens: int = 0
    output_tokens: int = 0
    nano: int | None = None
    model: str = ""
    priced: bool = True  # False as soon as one call of a model came without a price
    cached_tokens: int = 0
    priceable: bool = True  # False where the price of no one model gives the cost of the sum

    def add(self, input_tokens: int, output_tokens: int, nano: int | None, model: str) -> None:
        """One more call of a model. A call without a price makes the cost of the whole run unknown."""
        used_before = self.input_tokens or self.output_tokens
        if (used_before and model != self.model) or not (input_tokens or output_tokens):
            self.priceable = False  # tokens of several models, or of a call that told none
        self.input_tokens += input_tokens
        self.output_tokens += output_tokens
        if model:
            self.model = model
        if nano is None:
            self.priced = False
        else:
            self.nano = (self.nano or 0) + nano

    def merge(self, other: Usage) -> None:
        """All that another run used. Unknown costs make the whole unknown."""
        self.add(other.input_tokens, other.output_tokens, other.cost, other.model)
        self.cached_tokens += other.cached_tokens
        self.priceable = self.priceable and other.priceable

    @property
    def cost(self) -> int | None:
        """Nano-dollars, or None where unknown. A run that recorded nothing cost 0."""
        if not self.priced or (self.nano is None and (self.input_tokens or self.output_tokens)):
            return None
        return self.nano or 0


def checked(usage: object) -> Usage:
    """The usage that a meter answered. ``TypeError`` if it is none, ``ValueError`` for counts that cannot be."""
    if not isinstance(usage, Usage):
        raise TypeError(f"the meter answered {usage!r}; it must be a Usage, or None")
    counts = {"input_tokens": usage.input_tokens, "output_tokens": usage.output_tokens, "nano": usage.nano or 0}
    for name, count in counts.items():
        if type(count) is not int or count < 0:
            raise ValueError(f"the meter answered {name}={count!r}; it must be a whole number of 0 or more")
    return usage
