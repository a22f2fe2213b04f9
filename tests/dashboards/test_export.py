"""``rollout dashboards export DIR``: whole, from a checkout and from a wheel, and never over somebody's changes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

import cli
from rollout_render.doors import Exit
from tests.dashboards.shipped import ROOT
from tests.support.promtool import needs_promtool, promtool

CHECKOUT = Path(__file__).resolve().parent.parent.parent
SHIPPED = sorted(
    file.relative_to(ROOT).as_posix()
    for part in ("README.md", "grafana", "prometheus")
    for file in [ROOT / part, *(ROOT / part).rglob("*")]
    if file.is_file()
)


def export(folder: Path, *words: str) -> Result:
    return CliRunner().invoke(cli.main, ["dashboards", "export", str(folder), *words])


def files(folder: Path) -> dict[str, bytes]:
    """Everything below a folder, hidden files too."""
    return {
        file.relative_to(folder).as_posix(): file.read_bytes() for file in sorted(folder.rglob("*")) if file.is_file()
    }


def told(result: Result) -> Any:
    return json.loads(result.stdout)


def test_dashboards_provisioning_rules_and_the_readme_are_written_as_they_ship(tmp_path: Path) -> None:
    folder = tmp_path / "new" / "monitoring"
    result = export(folder)
    assert result.exit_code == Exit.ok
    assert files(folder) == {name: (ROOT / name).read_bytes() for name in SHIPPED}
    assert f"Wrote {len(SHIPPED)} files to {folder}" in result.stdout
    assert str(folder / "README.md") in result.stdout


def test_json_names_every_file_once(tmp_path: Path) -> None:
    first = told(export(tmp_path, "--output", "json"))
    assert first == {"folder": str(tmp_path), "written": SHIPPED, "unchanged": []}
    (tmp_path / SHIPPED[0]).unlink()
    second = told(export(tmp_path, "--output", "json"))
    assert second == {"folder": str(tmp_path), "written": SHIPPED[:1], "unchanged": SHIPPED[1:]}


def test_a_second_time_changes_nothing(tmp_path: Path) -> None:
    export(tmp_path)
    before = {name: (tmp_path / name).stat().st_mtime_ns for name in SHIPPED}
    result = export(tmp_path)
    assert result.exit_code == Exit.ok
    assert f"{len(SHIPPED)} were there already" in result.stdout
    assert {name: (tmp_path / name).stat().st_mtime_ns for name in SHIPPED} == before


def test_files_that_differ_are_named_and_nothing_is_written(tmp_path: Path) -> None:
    changed = {"README.md": b"mine", "prometheus/alerts.rules.yaml": b"groups: []\n"}
    for name, content in changed.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(content)
    result = export(tmp_path)
    assert result.exit_code == Exit.failure
    assert "README.md, prometheus/alerts.rules.yaml" in result.stderr
    assert "--force" in result.stderr
    assert files(tmp_path) == changed


def test_force_overwrites_what_differs_and_leaves_what_is_not_ours(tmp_path: Path) -> None:
    export(tmp_path)
    (tmp_path / "README.md").write_text("mine")
    (tmp_path / "prometheus" / "own.rules.yaml").write_text("groups: []\n")
    result = told(export(tmp_path, "--force", "--output", "json"))
    assert result["written"] == ["README.md"]
    assert files(tmp_path) == {
        **{name: (ROOT / name).read_bytes() for name in SHIPPED},
        "prometheus/own.rules.yaml": b"groups: []\n",
    }


def test_alerts_and_their_tests_lead_to_the_runbooks_that_were_named(tmp_path: Path) -> None:
    export(tmp_path, "--runbooks", "https://wiki.example/rolloutkit")
    alerts = (tmp_path / "prometheus" / "alerts.rules.yaml").read_text(encoding="utf-8")
    assert "runbook_url: https://wiki.example/rolloutkit#rolloutkitnoleader\n" in alerts
    links = [line for text in files(tmp_path / "prometheus").values() for line in text.decode().splitlines()]
    links = [line for line in links if "runbook_url" in line]
    assert links
    assert all("runbook_url: https://wiki.example/rolloutkit#rolloutkit" in line for line in links)
    # Other runbooks are another content: what stands there differs.
    assert export(tmp_path).exit_code == Exit.failure


@needs_promtool
def test_what_was_written_passes_its_own_tests(tmp_path: Path) -> None:
    export(tmp_path, "--runbooks", "https://wiki.example/rolloutkit?page=1&part=two")
    tests = sorted((tmp_path / "prometheus" / "tests").glob("*.test.yaml"))
    promtool("test", "rules", *tests)


@pytest.mark.parametrize(
    "address", ["wiki", "ftp://a/b", "https://", "https://a/b#c", "https://a/b c", 'https://a/"', ""]
)
def test_runbooks_that_are_no_address_are_refused_before_anything_is_written(address: str, tmp_path: Path) -> None:
    result = export(tmp_path, "--runbooks", address)
    assert result.exit_code == Exit.failure
    assert f'"{address}" is no address' in result.stderr
    assert files(tmp_path) == {}


def test_a_folder_that_is_none_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    assert export(tmp_path / "file").exit_code == Exit.usage
    result = export(tmp_path / "file" / "below")
    assert result.exit_code == Exit.failure
    assert "Name another folder" in result.stderr


def test_a_file_in_the_way_of_a_folder_is_told(tmp_path: Path) -> None:
    (tmp_path / "prometheus").write_text("")
    result = export(tmp_path)
    assert result.exit_code == Exit.failure
    assert "Name another folder" in result.stderr


def test_a_folder_in_the_way_of_a_file_is_told_and_leaves_no_draft(tmp_path: Path) -> None:
    (tmp_path / "README.md").mkdir()
    result = export(tmp_path, "--force")
    assert result.exit_code == Exit.failure
    assert files(tmp_path) == {}


def test_an_installed_wheel_writes_the_same(tmp_path: Path) -> None:
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)]
    subprocess.run(build, cwd=CHECKOUT, check=True, capture_output=True)
    (wheel,) = tmp_path.glob("*.whl")
    installed = tmp_path / "site-packages"
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(installed)
    subprocess.run(
        [sys.executable, "-m", "rollout", "dashboards", "export", "monitoring"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(installed)},
        check=True,
        capture_output=True,
    )
    assert files(tmp_path / "monitoring") == {name: (ROOT / name).read_bytes() for name in SHIPPED}
