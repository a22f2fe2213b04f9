"""Arrivals and token counts are distributed like those of the traces that they were fitted to."""

import csv
import gzip
from itertools import islice, pairwise
from pathlib import Path
from statistics import mean, pstdev

import pytest

from rollout_demo.traffic import CONTEXT_TOKENS, GAPS, GENERATED_TOKENS, Quantiles, popularity, visits

TRACE = Path(__file__).resolve().parents[3] / "shared" / "data" / "llm_conversations.csv.gz"
DRAWN = list(islice(visits(rate=100, seed=5), 20_000))


def quantile(values: list[float], q: float) -> float:
    return sorted(values)[int(q * len(values))]


@pytest.mark.parametrize("q", [0.1, 0.25, 0.5, 0.75, 0.9, 0.99])
@pytest.mark.parametrize(("of", "field"), [(CONTEXT_TOKENS, "context_tokens"), (GENERATED_TOKENS, "generated_tokens")])
def test_token_counts_have_the_stated_quantiles(of: Quantiles, field: str, q: float) -> None:
    drawn = [getattr(visit, field) for visit in DRAWN]
    assert of.at(q - 0.01) <= quantile(drawn, q) <= of.at(q + 0.009)


def test_arrivals_have_the_asked_rate_and_are_a_little_burstier_than_poisson() -> None:
    gaps = [visit.gap_s for visit in DRAWN]
    assert mean(gaps) == pytest.approx(0.01, rel=0.03)
    assert 1.0 < pstdev(gaps) / mean(gaps) < 1.2


def test_the_same_seed_brings_the_same_visits() -> None:
    assert DRAWN[:500] == list(islice(visits(rate=100, seed=5), 500))
    assert DRAWN[:500] != list(islice(visits(rate=100, seed=6), 500))


def test_some_customers_come_often_and_none_is_a_tenth_of_the_traffic() -> None:
    weights = sorted(popularity(), reverse=True)
    tenth = len(weights) // 10
    assert 0.3 < sum(weights[:tenth]) / sum(weights) < 0.7
    assert weights[0] / sum(weights) < 0.01


@pytest.mark.skipif(not TRACE.exists(), reason=f"the trace is not at {TRACE}")
@pytest.mark.parametrize("q", [0.05, 0.1, 0.5, 0.9, 0.95, 0.99])
def test_the_stated_quantiles_are_those_of_the_trace(q: float) -> None:
    with gzip.open(TRACE, "rt") as lines:
        rows = list(csv.DictReader(lines))
    times = [float(row["offset_s"]) for row in rows]
    gaps = [later - earlier for earlier, later in pairwise(times)]
    assert quantile(gaps, q) / mean(gaps) == pytest.approx(GAPS.at(q), abs=0.001)
    assert quantile([float(row["context_tokens"]) for row in rows], q) == CONTEXT_TOKENS.at(q)
    assert quantile([float(row["generated_tokens"]) for row in rows], q) == GENERATED_TOKENS.at(q)
