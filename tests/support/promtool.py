"""Prometheus' own checks. A test that needs them skips visibly where there is no ``promtool``."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import pytest

Test = TypeVar("Test", bound=Callable[..., Any])


def needs_promtool(test: Test) -> Test:
    """Skipped, and told, where there is none; `.ci/run` installs it, so no check goes without."""
    missing = shutil.which("promtool") is None
    marked: Test = pytest.mark.skipif(missing, reason="promtool is not on the PATH")(pytest.mark.promtool(test))
    return marked


def promtool(*words: str | Path, text: str = "") -> str:
    """What it prints, which fails the test if it finds fault."""
    done = subprocess.run(
        ["promtool", *map(str, words)], input=text, capture_output=True, text=True, encoding="utf-8", timeout=120
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr
