"""The history of a seed, step by step: ``python -m tests.fleet SEED [--sqlite]``. Ends with 1 if it broke."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from tests.fleet.fleet import Fleet
from tests.fleet.histories import letter, lived, lived_in_sqlite


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.fleet", description="Tell the history of a seed.")
    parser.add_argument("seed", type=int)
    parser.add_argument("--sqlite", action="store_true", help="over a file of SQLite instead of in memory")
    asked = parser.parse_args()
    if asked.sqlite:
        with TemporaryDirectory() as folder:
            fleet = lived_in_sqlite(asked.seed, Path(folder))
    else:
        fleet = lived(Fleet(asked.seed))
    print(*fleet.chronicle.lines, sep="\n")
    print(letter(fleet) if fleet.chronicle.broken else "Every invariant held.")
    return bool(fleet.chronicle.broken)


if __name__ == "__main__":
    sys.exit(main())
