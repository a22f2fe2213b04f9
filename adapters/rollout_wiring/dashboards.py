"""The dashboards and rules that ship with the toolkit, written into a folder of the user's."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from rollout.errors import RolloutError
from rollout.resources import shipped

_PARTS: Final = ("README.md", "grafana", "prometheus")  # not `source`, which makes the JSON
_RUNBOOKS: Final = "dashboards/README.md"  # where the alerts link to, as shipped


@dataclass(frozen=True, slots=True, kw_only=True)
class Exported:
    """What became of an export. ``written`` and ``unchanged``: paths below ``folder``, sorted."""

    folder: str
    written: Sequence[str]
    unchanged: Sequence[str]


def export(folder: Path, *, runbooks: str | None = None, force: bool = False) -> Exported:
    """Write what is not there yet. ``runbooks``: the address that alerts link to, instead of the shipped README.

    Files that are there and differ are named in a ``RolloutError``, and nothing is written, unless ``force``.
    """
    wanted = dict(_shipped(_address(runbooks)))
    found = {name: _content(folder / name) for name in wanted}
    changed = [name for name, text in wanted.items() if found[name] not in (None, text)]
    if changed and not force:
        raise RolloutError(
            f"Nothing was written to {folder}: it has files that differ from those that ship with this version: "
            f"{', '.join(changed)}. Look at what was changed there; --force overwrites it."
        )
    written = [name for name, text in wanted.items() if found[name] != text]
    _write(folder, {name: wanted[name] for name in written})
    return Exported(folder=str(folder), written=written, unchanged=[name for name in wanted if name not in written])


def _address(runbooks: str | None) -> str:
    if runbooks is None:
        return _RUNBOOKS
    parts = urlsplit(runbooks)
    plain = not (set(runbooks) & set("#\"'<>\\{}|^`") or any(letter.isspace() for letter in runbooks))
    if parts.scheme not in ("http", "https") or not parts.netloc or not plain:
        raise RolloutError(
            f'"{runbooks}" is no address for runbooks. Write that of a page, without "#": '
            "https://wiki.example/rolloutkit/runbooks"
        )
    return runbooks


def _shipped(runbooks: str) -> Iterator[tuple[str, bytes]]:
    """(path below the folder, content) of every file, sorted."""
    root = shipped("dashboards")
    for part in _PARTS:
        inside = root / part
        for file in sorted(inside.rglob("*")) if inside.is_dir() else [inside]:
            if file.is_file():
                name = file.relative_to(root).as_posix()
                content = file.read_bytes()
                if part == "prometheus":
                    content = content.replace(f"{_RUNBOOKS}#".encode(), f"{runbooks}#".encode())
                yield name, content


def _content(file: Path) -> bytes | None:
    """None where there is no such file yet."""
    try:
        return file.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise _unusable(file, error) from error


def _write(folder: Path, contents: Mapping[str, bytes]) -> None:
    """Each file whole, or as it was: whoever watches the folder never reads half of one."""
    for name, content in contents.items():
        file = folder / name
        draft = file.with_name(f".{file.name}.{os.getpid()}")
        try:
            file.parent.mkdir(parents=True, exist_ok=True)
            draft.write_bytes(content)
            draft.replace(file)
        except OSError as error:
            with suppress(OSError):  # its folder may be none
                draft.unlink(missing_ok=True)
            raise _unusable(file, error) from error


def _unusable(file: Path, error: OSError) -> RolloutError:
    return RolloutError(f"{file} cannot be used: {error.strerror}. Name another folder.")
