"""The command `rollout`, also as `python -m rollout`: loads the command line from where this installation keeps it."""

import importlib.util
import sys

from rollout.resources import shipped


def main() -> None:
    """Run the command line; its exit code leaves by SystemExit, as click has it."""
    name = "rollout._cli"
    spec = importlib.util.spec_from_file_location(name, shipped("cli.py"))
    assert spec is not None
    assert spec.loader is not None
    cli = importlib.util.module_from_spec(spec)
    sys.modules[name] = cli  # before it runs, as an import would: dataclasses and pickles look their module up there
    spec.loader.exec_module(cli)
    cli.main()


if __name__ == "__main__":
    main()
