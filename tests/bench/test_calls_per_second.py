"""Calls per second through a socket, by wrk, beside the CPU figures: one server process for each variant, rounds
interleaved.
"""

from __future__ import annotations

import re
import shutil
import statistics
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

VARIANTS = ("empty", "by hand", "LaunchDarkly", "inactive", "not drawn", "shadow")
ROUNDS, SECONDS, CONNECTIONS = 7, 2, 16
USERS = """
request = function()
  wrk.headers["X-User-Id"] = "user-" .. math.random(1, 5000)
  return wrk.format("GET", "/profile/" .. math.random(1, 5000))
end
"""


@contextmanager
def server(variant: str) -> Iterator[str]:
    """A server of a variant; its address."""
    command = [sys.executable, "-m", "tests.bench.server", variant]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            yield f"http://127.0.0.1:{int(process.stdout.readline())}"
        finally:
            process.kill()


def calls_per_second(address: str, users: Path) -> float:
    command = ["wrk", "-t1", f"-c{CONNECTIONS}", f"-d{SECONDS}s", "-s", str(users), address]
    said = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True).stdout
    assert "Non-2xx" not in said, said
    found = re.search(r"Requests/sec:\s+([\d.]+)", said)
    assert found is not None, said
    return float(found[1])


@pytest.mark.bench
@pytest.mark.skipif(shutil.which("wrk") is None, reason="wrk is not installed (Debian: apt-get install wrk)")
def test_calls_that_are_not_drawn_keep_nine_tenths_of_the_rate(tmp_path: Path) -> None:
    users = tmp_path / "users.lua"
    users.write_text(USERS)
    rates: dict[str, list[float]] = {variant: [] for variant in VARIANTS}
    with ExitStack() as stack:
        addresses = {variant: stack.enter_context(server(variant)) for variant in VARIANTS}
        for turn in range(ROUNDS + 1):
            for variant in VARIANTS if turn % 2 else reversed(VARIANTS):
                rate = calls_per_second(addresses[variant], users)
                if turn:  # the first round warms up
                    rates[variant].append(rate)
    medians = {variant: statistics.median(found) for variant, found in rates.items()}
    print("\ncalls per second (wrk, 16 connections)      of empty")
    for variant, rate in medians.items():
        print(f"{variant:20}{rate:12,.0f}{rate / medians['empty']:18.3f}")
    assert medians["not drawn"] >= 0.92 * medians["empty"]
    assert medians["inactive"] >= 0.95 * medians["empty"]
