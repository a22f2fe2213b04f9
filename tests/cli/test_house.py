"""The spec file, the database's schema, the doctor, and how errors are told."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
from pathlib import Path

import click
import pytest
from click.testing import CliRunner, Result

import cli
from rollout_render.doors import Doors, Exit
from tests.cli.conftest import Run, commands, parsed


@pytest.mark.parametrize(
    ("path", "command"), commands(), ids=lambda part: " ".join(part) if isinstance(part, tuple) else ""
)
def test_every_command_explains_itself(path: tuple[str, ...], command: click.Command) -> None:
    result = CliRunner().invoke(cli.main, [*path, "-h"])
    assert result.exit_code == 0
    assert command.help, "its docstring is its help"


@pytest.mark.parametrize(
    ("path", "command"), commands(), ids=lambda part: " ".join(part) if isinstance(part, tuple) else ""
)
def test_every_option_names_its_variable(path: tuple[str, ...], command: click.Command) -> None:
    for option in command.params:
        if isinstance(option, click.Option) and option.name not in ("help", "version"):
            assert option.envvar, f"{' '.join(path)} {option.opts[0]}"
            assert str(option.envvar).startswith("ROLLOUT_")
            assert option.help


def test_the_help_has_every_command_once_and_cuts_none_of_their_sentences() -> None:
    assert isinstance(cli.main, Doors)
    listed = [name for names in cli.main.sections.values() for name in names]
    assert sorted(listed) == sorted(cli.main.commands)
    told = CliRunner().invoke(cli.main, ["-h"], terminal_width=80).stdout
    assert "..." not in told.partition("See:")[2]
    assert max(map(len, told.splitlines())) <= 80


def test_every_command_of_the_issue_is_there() -> None:
    wanted = (
        "demo|init|apply|config check|config schema|config show|status|show|check|promote|rollback|pause|resume|reset|"
        "approve|history|report|diff|cost|flag set|flag list|flag clear|controller|db upgrade|db current|db check|"
        "db sql|purge|audit verify|doctor"
    )
    assert set(wanted.split("|")) <= {" ".join(path) for path, _ in commands()}


def test_the_exit_codes_are_named() -> None:
    assert {code.name: code.value for code in Exit} == {
        "ok": 0, "failure": 1, "usage": 2, "holding": 3, "rolled_back": 4, "interrupted": 130,
    }  # fmt: skip


# Errors


def test_a_database_that_is_not_there_is_one_clear_block(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'none.db'}"
    result = CliRunner().invoke(cli.main, ["status", "--database-url", url])
    assert result.exit_code == Exit.failure
    assert result.stderr.startswith("Error: ")
    assert "db upgrade" in result.stderr
    assert not (tmp_path / "none.db").exists()


def test_a_url_that_is_none_is_told(run: Run) -> None:
    result = run("status", "--database-url", "mysql://nowhere/x")
    assert result.exit_code == Exit.failure
    assert "Traceback" not in result.output


def test_an_unknown_rollout_is_a_usage_error_with_the_nearest_name(run: Run) -> None:
    result = run("show", "profil")
    assert result.exit_code == Exit.usage
    assert 'Did you mean "profile"?' in result.stderr


def test_ctrl_c_exits_with_130(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(cli, "run", interrupted)
    assert run("status").exit_code == 130


def test_a_reader_that_leaves_early_hears_nothing(url: str) -> None:
    command = f"{sys.executable} -m rollout history profile --output json | head -c 1 >/dev/null"
    environment = {**os.environ, "ROLLOUT_DATABASE_URL": url}
    done = subprocess.run(["bash", "-c", command], env=environment, capture_output=True, text=True, check=True)
    assert done.stderr == ""


# The spec file


def test_init_writes_a_file_that_config_check_accepts_and_apply_takes(run: Run) -> None:
    assert run("init").exit_code == 0
    checked = run("config", "check")
    assert checked.exit_code == 0
    assert "against the registered rollouts" in checked.stdout
    applied = run("apply", "--reason", "first")
    assert applied.exit_code == 0
    assert "profile: policy v2" in applied.stdout


def test_init_overwrites_only_with_yes(run: Run, tmp_path: Path) -> None:
    (tmp_path / "rollout.toml").write_text("# mine\n")
    assert run("init").exit_code == Exit.usage
    assert (tmp_path / "rollout.toml").read_text() == "# mine\n"
    assert run("init", "--yes").exit_code == 0


def test_a_spec_with_mistakes_lists_them_all_with_their_lines(run: Run, tmp_path: Path) -> None:
    (tmp_path / "rollout.toml").write_text('[rollouts.profile.shadow]\nsample = 7\nnoise = "much"\n')
    result = run("config", "check")
    assert result.exit_code == Exit.failure
    assert "line 2" in result.stderr
    assert "line 3" in result.stderr


def test_a_spec_of_an_unknown_rollout_is_refused_and_changes_nothing(run: Run, tmp_path: Path) -> None:
    (tmp_path / "rollout.toml").write_text("[rollouts.profil.shadow]\nsample = 0.5\n")
    assert "profile" in run("apply").stderr
    assert parsed(run("config", "show", "profile", "-o", "json"))["version"] == 1


def test_a_reset_takes_the_fields_of_the_spec_away(run: Run, tmp_path: Path) -> None:
    (tmp_path / "rollout.toml").write_text("[rollouts.profile.shadow]\nsample = 0.5\n")
    assert run("apply", "--reason", "less").exit_code == 0
    assert run("apply", "--reset").exit_code == Exit.usage
    assert run("apply", "--reset", "--reason", "back", "--yes").exit_code == 0
    fields = {f["name"]: f["value"] for f in parsed(run("config", "show", "profile", "-o", "json"))["fields"]}
    assert fields["shadow.sample"] == 1.0


def test_the_schema_of_the_spec_is_json_schema(run: Run) -> None:
    assert parsed(run("config", "schema"))["$schema"].startswith("https://json-schema.org/")


# The database


def test_db_upgrade_creates_and_may_run_twice(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'new.db'}"

    def call(*words: str) -> Result:
        return CliRunner().invoke(cli.main, [*words, "--database-url", url])

    assert call("db", "current").exit_code == Exit.failure
    assert call("db", "upgrade").exit_code == 0
    assert call("db", "upgrade").exit_code == 0
    assert call("db", "current").exit_code == 0
    assert call("db", "check").stdout.strip() == "the tables are those of this version"
    assert "CREATE TABLE rollout_" in call("db", "sql").stdout
    assert call("status").exit_code == 0


# The doctor


def test_the_doctor_explains_a_database_that_is_not_there(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'none.db'}"
    result = CliRunner().invoke(cli.main, ["doctor", "--database-url", url, "-o", "json"])
    assert result.exit_code == Exit.failure
    assert [fault["name"] for fault in parsed(result)["faults"]] == ["database"]


def test_the_doctor_explains_a_schema_of_another_version(run: Run, url: str) -> None:
    with sqlite3.connect(url.removeprefix("sqlite:///")) as connection:
        connection.execute("UPDATE rollout_alembic_version SET version_num = '9999'")
    connection.close()
    (fault,) = parsed(run("doctor", "-o", "json"))["faults"]
    assert fault["name"] == "schema"
    assert "9999" in fault["evidence"]


def test_the_doctor_explains_a_file_that_is_no_database(tmp_path: Path) -> None:
    file = tmp_path / "not.db"
    file.write_text("hello " * 1_000)
    result = CliRunner().invoke(cli.main, ["doctor", "--database-url", f"sqlite:///{file}"])
    assert result.exit_code == Exit.failure
    assert "database" in result.stdout


def test_the_doctor_explains_a_spec_file_that_is_wrong(run: Run, tmp_path: Path) -> None:
    (tmp_path / "rollout.toml").write_text("this is no toml")
    assert "spec_file" in [fault["name"] for fault in parsed(run("doctor", "-o", "json"))["faults"]]


def test_the_audit_that_somebody_touched_is_found(run: Run, url: str) -> None:
    with sqlite3.connect(url.removeprefix("sqlite:///")) as connection:
        connection.execute("UPDATE rollout_decisions SET actor = 'nobody' WHERE number = 3")
    connection.close()
    result = run("audit", "verify")
    assert result.exit_code == Exit.failure
    assert "#3" in result.stdout
    assert "audit" in [fault["name"] for fault in parsed(run("doctor", "-o", "json"))["faults"]]


@pytest.mark.postgres
def test_the_same_commands_work_on_postgresql(postgres_url: str) -> None:
    def call(*words: str) -> Result:
        return CliRunner().invoke(cli.main, [*words, "--database-url", postgres_url])

    refused = call("status")
    assert refused.exit_code == Exit.failure
    assert "db upgrade" in refused.stderr
    assert call("db", "upgrade").exit_code == 0
    assert call("status").exit_code == 0
    assert [fault["name"] for fault in parsed(call("doctor", "-o", "json"))["faults"]] == ["no_rollout"]
