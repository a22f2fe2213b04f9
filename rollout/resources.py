"""Where the files live that are not modules of this package: inside it once installed, beside it in a checkout.

A user's monolith has a `migrations` and a `cli.py` of its own, so the wheel carries ours as `rollout/_migrations` and
`rollout/_cli.py`; a checkout keeps them at its root, where people look for them.
"""

from pathlib import Path

from rollout.errors import RolloutError, UnknownName

_PACKAGE = Path(__file__).resolve().parent
_INSTALLED_AS = {"migrations": "_migrations", "dashboards": "_dashboards", "cli.py": "_cli.py"}


def shipped(name: str, package: Path = _PACKAGE) -> Path:
    """The path of `migrations`, `dashboards` or `cli.py`, as this installation has it.

    `package` is the folder of the package `rollout`. Raises `UnknownName` for any other name and `RolloutError` where
    the installation has lost the file. The path is a real one: an installation inside a zip file is not supported.
    """
    if name not in _INSTALLED_AS:
        raise UnknownName("shipped file", name, tuple(_INSTALLED_AS))
    inside, beside = package / _INSTALLED_AS[name], package.parent / name
    if inside.exists():
        return inside
    # A stranger's `migrations` may stand beside an installed package (both in site-packages): only a checkout's counts.
    if beside.exists() and (package.parent / "pyproject.toml").exists():
        return beside
    raise RolloutError(
        f"This installation of rollout-kit is not whole: {name} is neither at {inside} nor in a checkout around it. "
        "Install it again: pip install --force-reinstall rollout-kit"
    )
