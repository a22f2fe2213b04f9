"""Who may import whom. The table is the rule; the syntax trees of all shipped code are held against it.

A file falls under its longest matching key, a module or a folder. `name.*` means the module and all below it. The
standard library is open to everyone but `rollout/domain`, which decides and therefore may neither wait, look at a
clock, throw dice nor touch the world. Imports for type checkers count like any other: a name in a signature is a
dependency too.
"""

import ast
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from fnmatch import fnmatchcase
from itertools import chain
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).resolve().parent.parent
FOLDERS = ("rollout", "adapters", "migrations")


@dataclass(frozen=True, kw_only=True, slots=True)
class Rule:
    """What the files of one place may import. `in_functions`: only there, not at the top of the module."""

    may: tuple[str, ...] = ()
    in_functions: tuple[str, ...] = ()
    never: tuple[str, ...] = ()


DECLARED = (
    "rollout.domain.*",
    "rollout.errors",
    "rollout.definition",
    "rollout.mistakes.*",
    "rollout.gates",
    "rollout.context",
    "rollout.usage",
    "rollout.meters",
    "rollout.dispatch",
)
ANY_OF_ROLLOUT = ("rollout", *DECLARED, "rollout.ports", "rollout.engine.*", "rollout.usecases.*", "rollout.resources")
ANY_ADAPTER = (
    "rollout_aiohttp",
    "rollout_notify",
    "rollout_openfeature",
    "rollout_orjson",
    "rollout_otel",
    "rollout_page",
    "rollout_prices",
    "rollout_prometheus",
    "rollout_render",
    "rollout_spec",
    "rollout_sql",
    "rollout_webhook",
    "rollout_wiring",
)

RULES = {
    "rollout/domain": Rule(
        may=("rollout.domain.*", "rollout.errors"),
        never=("asyncio", "time", "random", "os", "socket", "threading"),
    ),
    "rollout/errors": Rule(),
    "rollout/definition": Rule(may=DECLARED),
    "rollout/mistakes": Rule(may=DECLARED),
    "rollout/gates": Rule(may=DECLARED),
    "rollout/context": Rule(may=DECLARED),
    "rollout/usage": Rule(may=DECLARED),
    "rollout/meters": Rule(may=DECLARED),
    "rollout/dispatch": Rule(may=DECLARED),
    "rollout/fan_out": Rule(may=(*DECLARED, "rollout.ports", "rollout.engine.*")),
    "rollout/ports": Rule(may=("rollout.domain.*", "rollout.errors")),
    "rollout/engine": Rule(may=(*DECLARED, "rollout.ports", "rollout.engine.*")),
    "rollout/usecases": Rule(may=(*DECLARED, "rollout.ports", "rollout.engine.*", "rollout.usecases.*")),
    "rollout/testing": Rule(may=(*DECLARED, "rollout.ports", "rollout.engine.*", "rollout.testing.*")),
    "rollout/resources": Rule(may=("rollout.errors",)),
    "rollout/__main__": Rule(may=("rollout.resources",)),
    "rollout/__init__": Rule(may=(*DECLARED, "rollout.fan_out")),
    "adapters/rollout_aiohttp": Rule(
        may=(*ANY_OF_ROLLOUT, "rollout_aiohttp.*", "aiohttp.*", "multidict.*", "yarl.*"),
    ),
    "adapters/rollout_aiohttp/setup": Rule(
        may=(*ANY_OF_ROLLOUT, "rollout_aiohttp.*", "aiohttp.*", "multidict.*", "yarl.*"),
        in_functions=("rollout_wiring.*",),
    ),
    "adapters/rollout_notify": Rule(may=(*ANY_OF_ROLLOUT, "rollout_notify.*", "aiohttp.*", "yarl.*")),
    "adapters/rollout_openfeature": Rule(may=(*ANY_OF_ROLLOUT, "rollout_openfeature.*", "openfeature.*")),
    "adapters/rollout_orjson": Rule(may=(*ANY_OF_ROLLOUT, "rollout_orjson.*", "orjson.*")),
    "adapters/rollout_page": Rule(
        may=(*ANY_OF_ROLLOUT, "rollout_page.*", "aiohttp.*", "jinja2.*", "markupsafe.*"),
    ),
    "adapters/rollout_otel": Rule(may=("rollout.ports", "rollout_otel.*", "opentelemetry.*")),
    "adapters/rollout_prices": Rule(may=(*ANY_OF_ROLLOUT, "rollout_prices.*", "genai_prices.*")),
    "adapters/rollout_prometheus": Rule(may=(*ANY_OF_ROLLOUT, "rollout_prometheus.*", "prometheus_client.*")),
    "adapters/rollout_render": Rule(
        may=(*ANY_OF_ROLLOUT, "rollout_render.*", "rich.*", "jinja2.*", "markupsafe.*", "click.*"),
    ),
    "adapters/rollout_spec": Rule(may=(*ANY_OF_ROLLOUT, "rollout_spec.*", "pydantic.*", "pydantic_core.*")),
    "adapters/rollout_sql": Rule(
        may=(*ANY_OF_ROLLOUT, "rollout_sql.*", "sqlalchemy.*", "alembic.*", "aiosqlite.*", "asyncpg.*"),
    ),
    "adapters/rollout_webhook": Rule(
        may=(*ANY_OF_ROLLOUT, "rollout_webhook.*", "aiohttp.*", "multidict.*", "jwt.*", "cryptography.*"),
    ),
    "adapters/rollout_wiring": Rule(
        may=(*ANY_OF_ROLLOUT, *(f"{adapter}.*" for adapter in (*ANY_ADAPTER, "rollout_demo")), "click.*"),
    ),
    # Public names only, as a user would: no module of `rollout` but those that a user is told of.
    "adapters/rollout_demo": Rule(
        may=(
            *(
                "rollout",
                "rollout.gates",
                "rollout.meters",
                "rollout.dispatch",
                "rollout.testing",
                "rollout_demo.*",
                *ANY_ADAPTER,
                "aiohttp.*",
                "rich.*",
            ),
            *("rollout_aiohttp.guard", "rollout_aiohttp.setup"),  # public functions called like their modules
        ),
    ),
    "cli": Rule(may=("rollout.usecases.*", "rollout.errors", "rollout_wiring.*", "rollout_render.*", "click.*")),
    "migrations/env": Rule(may=("rollout_sql.*", "alembic.*", "sqlalchemy.*")),
    "migrations/versions": Rule(may=("alembic.*", "sqlalchemy.*")),
}


def test_every_import_is_one_that_the_table_allows() -> None:
    assert not list(violations(CHECKOUT))


def violations(root: Path) -> Iterator[str]:
    """One line for each import below `root` that no rule allows, and for each file that no rule covers."""
    for file in sorted(chain([root / "cli.py"], *((root / folder).rglob("*.py") for folder in FOLDERS))):
        path = file.relative_to(root).as_posix()
        rule = rule_of(path)
        if rule is None:
            yield f"{path}: no rule says what it may import; add it to the table"
            continue
        for name, line, in_function in imports(file, root):
            if not allowed(rule, name, in_function):
                yield f"{path}:{line}: may not import {name}"


def rule_of(path: str) -> Rule | None:
    keys = [key for key in RULES if f"{path.removesuffix('.py')}/".startswith(f"{key}/")]
    return RULES[max(keys, key=len)] if keys else None


def allowed(rule: Rule, name: str, in_function: bool) -> bool:
    if name.partition(".")[0] in sys.stdlib_module_names:
        return not matches(name, rule.never)
    return matches(name, rule.may) or (in_function and matches(name, rule.in_functions))


def matches(name: str, patterns: tuple[str, ...]) -> bool:
    standard = tuple(f"{pattern}.*" for pattern in patterns if pattern in sys.stdlib_module_names)  # os: os.path too
    return any(fnmatchcase(name, pattern) or f"{name}.*" == pattern for pattern in (*patterns, *standard))


def imports(file: Path, root: Path) -> Iterator[tuple[str, int, bool]]:
    """Each imported module with its line, and whether the import stands inside a function."""
    tree = ast.parse(file.read_text(encoding="utf-8"), str(file))
    functions = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]
    inside = {id(node) for function in functions for node in ast.walk(function)}
    for node in ast.walk(tree):
        for name in imported(node, package_of(file, root), root):
            yield name, getattr(node, "lineno", 0), id(node) in inside


def imported(node: ast.AST, package: list[str], root: Path) -> list[str]:
    match node:
        case ast.Import(names=names):
            return [alias.name for alias in names]
        case ast.ImportFrom(module=module, names=names, level=level):
            base = package[: len(package) - level + 1] if level else []
            source = ".".join([*base, *([module] if module else [])])
            return [resolved(source, alias.name, root) for alias in names]
        case ast.Call(
            func=ast.Name(id=function) | ast.Attribute(attr=function), args=[ast.Constant(value=str(name)), *_]
        ):
            return [name] if function in ("import_module", "__import__") else []
    return []


def package_of(file: Path, root: Path) -> list[str]:
    parts = file.relative_to(root).parent.parts
    return list(parts[1:] if parts[:1] == ("adapters",) else parts)


def resolved(source: str, name: str, root: Path) -> str:
    """`from rollout import gates` names the module `rollout.gates`; `from rollout import Branch` names `rollout`."""
    below = "/".join([*source.split("."), name])
    for base in (root, root / "adapters"):
        if (base / f"{below}.py").exists() or (base / below).is_dir():
            return f"{source}.{name}"
    return source


@pytest.mark.parametrize(
    ("path", "source", "named"),
    [
        ("rollout/domain/ramp.py", "import asyncio", "asyncio"),
        ("rollout/domain/ramp.py", "from time import monotonic", "time"),
        ("rollout/domain/ramp.py", "import os.path", "os.path"),
        ("rollout/domain/ramp.py", "from .. import ports", "rollout.ports"),
        ("rollout/domain/ramp.py", "from rollout.engine import trial", "rollout.engine.trial"),
        ("rollout/domain/stats/e.py", "import numpy", "numpy"),
        ("rollout/ports.py", "from rollout.engine import trial", "rollout.engine.trial"),
        ("rollout/engine/trial.py", "from rollout import usecases", "rollout.usecases"),
        ("rollout/engine/trial.py", "from rollout import Branch", "rollout"),
        ("rollout/engine/trial.py", "def f():\n    import rollout_sql", "rollout_sql"),
        ("rollout/engine/trial.py", "from importlib import import_module\nimport_module('rollout_sql')", "rollout_sql"),
        ("rollout/usecases.py", "from rollout_render import table", "rollout_render"),
        ("rollout/usecases.py", "import cli", "cli"),
        ("adapters/rollout_sql/store.py", "import rollout_prometheus", "rollout_prometheus"),
        ("adapters/rollout_sql/store.py", "import prometheus_client", "prometheus_client"),
        ("adapters/rollout_sql/store.py", "def setup():\n    import rollout_wiring", "rollout_wiring"),
        ("adapters/rollout_aiohttp/setup.py", "import rollout_wiring", "rollout_wiring"),
        ("adapters/rollout_demo/shop.py", "from rollout.engine import trial", "rollout.engine.trial"),
        ("cli.py", "import sqlalchemy", "sqlalchemy"),
        ("cli.py", "from rollout.engine import trial", "rollout.engine.trial"),
        ("migrations/versions/0001_first.py", "from rollout_sql import tables", "rollout_sql"),
    ],
)
def test_a_forbidden_import_is_found(tmp_path: Path, path: str, source: str, named: str) -> None:
    plant(tmp_path, path, source)
    assert [line.rpartition(" ")[2] for line in violations(tmp_path)] == [named]


@pytest.mark.parametrize(
    ("path", "source"),
    [
        (
            "rollout/domain/ramp.py",
            "import re, math\nfrom datetime import datetime\nfrom rollout.errors import Refused",
        ),
        ("rollout/engine/trial.py", "import asyncio\nfrom rollout.domain.ramp import Ramp\nfrom rollout import ports"),
        ("adapters/rollout_sql/store.py", "from rollout import ports\nfrom sqlalchemy.ext import asyncio"),
        ("adapters/rollout_aiohttp/setup.py", "def setup():\n    from rollout_wiring import build"),
        ("adapters/rollout_demo/shop.py", "from rollout import Branch, gates\nfrom rollout_aiohttp import setup"),
    ],
)
def test_an_allowed_import_is_not(tmp_path: Path, path: str, source: str) -> None:
    plant(tmp_path, path, source)
    assert not list(violations(tmp_path))


def test_a_file_that_no_rule_covers_is_found(tmp_path: Path) -> None:
    plant(tmp_path, "rollout/helpers.py", "")
    assert [line.partition(":")[0] for line in violations(tmp_path)] == ["rollout/helpers.py"]


def plant(root: Path, path: str, source: str) -> None:
    skeleton = ("cli.py", "rollout/ports.py", "rollout/usecases.py", "rollout/gates.py", "rollout/engine/trial.py")
    for name in (*skeleton, path):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()
    (root / path).write_text(source)
