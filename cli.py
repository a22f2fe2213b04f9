"""The command line: doors, not rooms. Each command parses, calls one use case, renders, and exits with a named code."""

import click


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="rollout-kit", prog_name="rollout")
def main() -> None:
    """Move a monolithic handler to a fan-out of branches, step by step."""
