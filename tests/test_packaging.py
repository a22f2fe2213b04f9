"""What lands on a user's machine: the wheel, the pinned requirements, and no trace of the machine that made them."""

import os
import re
import shutil
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from importlib.metadata import version
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from rollout.errors import RolloutError, UnknownName
from rollout.resources import shipped

CHECKOUT = Path(__file__).resolve().parent.parent
PYPROJECT = tomllib.loads((CHECKOUT / "pyproject.toml").read_text(encoding="utf-8"))
PACKAGES = {Path(package).name for package in PYPROJECT["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]}


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build("wheel", CHECKOUT, tmp_path_factory.mktemp("wheel"))


def build(target: str, source: Path, into: Path) -> Path:
    """Built as pip builds it without isolation: by the hatchling of this environment, without a network."""
    subprocess.run([sys.executable, "-m", "hatchling", "build", "-t", target, "-d", into], cwd=source, check=True)
    (built,) = into.iterdir()
    return built


def test_the_wheel_puts_nothing_into_site_packages_but_rollout_packages(wheel: Path) -> None:
    top = {name.partition("/")[0] for name in names_in(wheel)}
    assert top == {*PACKAGES, f"rollout_kit-{version('rollout-kit')}.dist-info"}


def test_every_adapter_is_in_the_wheel(wheel: Path) -> None:
    folders = {path.parent.name for path in CHECKOUT.glob("adapters/*/__init__.py")}
    assert folders <= {name.partition("/")[0] for name in names_in(wheel)}


def test_every_package_says_that_it_is_typed(wheel: Path) -> None:
    assert {f"{package}/py.typed" for package in PACKAGES} <= names_in(wheel)


def test_migrations_dashboards_and_command_line_travel_inside_the_package(wheel: Path) -> None:
    inside = names_in(wheel)
    assert "rollout/_cli.py" in inside
    for folder in ("migrations", "dashboards"):
        files = [path for path in (CHECKOUT / folder).rglob("*") if path.is_file() and "__pycache__" not in path.parts]
        assert {f"rollout/_{path.relative_to(CHECKOUT).as_posix()}" for path in files} <= inside


def test_templates_styles_and_scripts_travel_with_their_adapters(wheel: Path) -> None:
    root = CHECKOUT / "adapters"
    files = [path for pattern in ("*.j2", "*.css", "*.js") for path in root.rglob(pattern)]
    assert {path.relative_to(root).as_posix() for path in files} <= names_in(wheel)
    assert {path.suffix for path in files} == {".j2", ".css", ".js"}


def test_the_wheel_carries_no_leavings(wheel: Path) -> None:
    assert [name for name in names_in(wheel) if re.search(r"__pycache__|\.pyc$|\.db$|\.log$", name)] == []


def test_a_wheel_made_from_the_source_distribution_is_the_same(wheel: Path, tmp_path: Path) -> None:
    for folder in ("sdist", "wheel"):
        (tmp_path / folder).mkdir()
    with tarfile.open(build("sdist", CHECKOUT, tmp_path / "sdist")) as archive:
        archive.extraction_filter = getattr(tarfile, "data_filter", None)  # Python 3.11.3 and older have none
        archive.extractall(tmp_path / "unpacked")
    (source,) = (tmp_path / "unpacked").iterdir()
    assert names_in(build("wheel", source, tmp_path / "wheel")) == names_in(wheel)


def test_an_installed_wheel_finds_its_files_and_tells_its_version(wheel: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path)
    find = (
        "from rollout.resources import shipped; print(*map(shipped, ('migrations', 'dashboards', 'cli.py')), sep='\\n')"
    )
    found = run_with(tmp_path, "-c", find).splitlines()
    assert found == [str(tmp_path / "rollout" / name) for name in ("_migrations", "_dashboards", "_cli.py")]
    assert run_with(tmp_path, "-m", "rollout", "--version").split()[-1] == PYPROJECT["project"]["version"]


def run_with(site_packages: Path, *arguments: str) -> str:
    """What Python prints that finds our packages there, and not in the checkout."""
    environment = {**os.environ, "PYTHONPATH": str(site_packages)}
    return subprocess.run(
        [sys.executable, *arguments], cwd=site_packages, env=environment, check=True, capture_output=True, text=True
    ).stdout


def test_shipped_files_are_found_beside_the_package_in_a_checkout() -> None:
    assert {name: shipped(name) for name in ("migrations", "dashboards", "cli.py")} == {
        name: CHECKOUT / name for name in ("migrations", "dashboards", "cli.py")
    }


def test_an_unknown_shipped_file_is_refused_by_name() -> None:
    with pytest.raises(UnknownName, match='Did you mean "migrations"'):
        shipped("migration")


def test_a_strangers_migrations_beside_the_installed_package_are_not_taken_for_ours(tmp_path: Path) -> None:
    (tmp_path / "rollout").mkdir()
    (tmp_path / "migrations").mkdir()
    with pytest.raises(RolloutError, match="not whole"):
        shipped("migrations", package=tmp_path / "rollout")


def test_the_lock_names_no_address() -> None:
    lock = (CHECKOUT / "requirements.lock").read_text(encoding="utf-8")
    assert re.findall(r"(?m)https?:|file:|^\s*-(?!-hash=).*| @ ", lock) == []


def test_the_lock_holds_everything_that_is_required_at_an_allowed_version_and_with_hashes() -> None:
    lock = (CHECKOUT / "requirements.lock").read_text(encoding="utf-8")
    pinned = dict(re.findall(r"(?m)^([a-z0-9-]+)==([^\s;]+).*\\\n    --hash=sha256:", lock))
    assert len(pinned) == len(re.findall(r"(?m)^\w", lock))
    project = PYPROJECT["project"]
    groups = [
        project["dependencies"],
        *project["optional-dependencies"].values(),
        *PYPROJECT["dependency-groups"].values(),
    ]
    for requirement in (
        Requirement(text) for group in [*groups, PYPROJECT["build-system"]["requires"]] for text in group
    ):
        assert requirement.name in pinned, f"{requirement} is not in requirements.lock: make lock"
        assert pinned[requirement.name] in requirement.specifier, (
            f"requirements.lock is older than {requirement}: make lock"
        )


@pytest.mark.parametrize(
    ("what", "pattern"),
    [
        ("a path of one machine", r"(^|[^[:alnum:]_.~-])/(work|root|home|Users)/[[:alnum:]_.]"),
        ("the host of a package registry", r"pypi[.]org|pythonhosted[.]org|npmjs[.]org|deb[.]debian[.]org"),
    ],
)
def test_no_tracked_file_names(what: str, pattern: str) -> None:
    if not shutil.which("git") or subprocess.run(["git", "rev-parse"], cwd=CHECKOUT, capture_output=True).returncode:
        pytest.skip("not a git checkout of this user's: what is tracked cannot be asked")
    found = subprocess.run(["git", "grep", "-nIE", pattern], cwd=CHECKOUT, capture_output=True, text=True)
    assert found.returncode == 1, f"{what} is named in:\n{found.stdout}{found.stderr}"


def names_in(wheel: Path) -> set[str]:
    with zipfile.ZipFile(wheel) as archive:
        return set(archive.namelist())
