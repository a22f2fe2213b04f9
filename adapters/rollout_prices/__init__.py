"""What language models cost, from the library genai-prices (extra ``prices``).

The prices are those that the installed version of the library carries: nothing is fetched.
"""

from __future__ import annotations

from collections.abc import Mapping
from fractions import Fraction
from math import ceil

from rollout.domain.cost import NANO
from rollout.domain.prices import Price, PriceBook

try:
    from genai_prices import Usage, calc_price
except ImportError as missing:
    raise ImportError(
        'rollout_prices needs the library genai-prices, which is not installed: pip install "rollout-kit[prices]"'
    ) from missing


def price_book(overrides: Mapping[str, Price] = {}) -> PriceBook:
    """The prices of today of all models that genai-prices knows.

    ``overrides``: the name of a model → its price, which goes first, for one's own contracts and own models. Default
    none. A model that neither knows is unknown, as is one that the library prices by something else than tokens
    (seconds of sound, requests). ``ValueError`` for a price that is none.
    """
    return PriceBook(overrides, fallback=_cost_nano)


def _cost_nano(model: str, input_tokens: int, output_tokens: int, cached_tokens: int) -> int | None:
    usage = Usage(input_tokens=input_tokens, output_tokens=output_tokens, cache_read_tokens=cached_tokens)
    try:
        found = calc_price(usage, model)
    except (LookupError, ValueError):  # a model that it does not know; prices that do not fit together
        return None
    # The library leaves out what has no price, as if it were free.
    for tokens, unit in ((input_tokens, "input_mtok"), (output_tokens, "output_mtok")):
        if tokens and getattr(found.model_price, unit) is None:
            return None
    return ceil(Fraction(found.total_price) * NANO)
