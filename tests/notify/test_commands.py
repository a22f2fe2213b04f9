"""``rollout notify test``, and ``rollout controller`` that tells: real processes, real receivers."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from operator import eq
from pathlib import Path

import pytest
from aiohttp import web
from click.testing import CliRunner

import cli
from rollout.ports import Backend
from rollout.testing import sample_policy
from rollout.usecases import steer
from rollout_sql import open_backend
from tests.notify.told import SECRET, hanging, receiving
from tests.support.apps import until


async def start(*words: str, **variables: str) -> asyncio.subprocess.Process:
    """The command line, as a process of its own."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("ROLLOUT_")}
    pipe = asyncio.subprocess.PIPE
    return await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "rollout", *words), env=kept | variables, stdout=pipe, stderr=pipe
    )


async def done(*words: str, **variables: str) -> tuple[int | None, str]:
    """The exit code, and everything that was printed."""
    process = await start(*words, **variables)
    out, errors = await asyncio.wait_for(process.communicate(), 60)
    return process.returncode, out.decode() + errors.decode()


# The test of the way


async def test_a_test_message_that_is_taken_exits_0() -> None:
    async with receiving() as (receiver, url):
        code, printed = await done("notify", "test", ROLLOUT_NOTIFY_SLACK=url)
    ((_, body),) = receiver.seen
    assert code == 0
    assert printed.startswith("slack (http://127.0.0.1:")
    assert "delivered, in " in printed
    assert "token" not in printed
    assert json.loads(body)["text"].startswith("rollout: this is a test · notifications of rollouts arrive here")


async def test_one_that_is_not_taken_exits_1_and_says_why_as_json_too() -> None:
    async def refusing(_: web.Request) -> web.Response:
        return web.Response(status=403, text="token")

    async with receiving(refusing) as (_, bad), receiving() as (_, good):
        words = ("notify", "test", "--webhook", bad, "--slack", good, "--output", "json")
        code, printed = await done(*words, ROLLOUT_NOTIFY_SECRET=SECRET)
    webhook, slack = json.loads(printed)
    assert code == 1
    assert (webhook["target"], webhook["delivered"], webhook["why"]) == ("webhook", False, "it answered 403")
    assert (slack["target"], slack["delivered"], slack["why"]) == ("slack", True, "")
    assert "token" not in printed
    assert SECRET not in printed


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ((), "Say whom to tell"),
        (("--webhook", "https://x.example/token"), "there is no secret"),
        (("--webhook", "https://x.example/token", "--secret", "short"), "less than 16 bytes"),
        (("--slack", "hooks.example/token"), "its address is none of the web"),
    ],
)
@pytest.mark.parametrize("command", ["notify test", "controller"])
def test_a_target_that_cannot_be_is_a_usage_error(command: str, words: tuple[str, ...], says: str) -> None:
    if command == "controller" and not words:
        return
    given = [word.replace("--", "--notify-") if command == "controller" else word for word in words]
    result = CliRunner().invoke(cli.main, [*command.split(), *given])
    assert result.exit_code == 2
    assert says in result.output
    assert "token" not in result.output
    assert "short" not in result.output


# The controller


@asynccontextmanager
async def database(folder: Path) -> AsyncIterator[tuple[Backend, str]]:
    url = f"sqlite:///{folder / 'rollout.db'}"
    backend = await open_backend(url, migrate=True)
    await backend.state.register(sample_policy(), "app")
    yield backend, url
    await backend.close()


async def controller(url: str, **variables: str) -> asyncio.subprocess.Process:
    """A controller that leads: each has the name of the one before, as in a container that was restarted."""
    return await start("controller", "--tick", "50ms", "--process", "c", "--database-url", url, **variables)


async def leads(backend: Backend) -> None:
    """Somebody leads, who tells people."""
    await noted(backend, lambda told: told is not None)


async def noted(backend: Backend, true: Callable[[int | None], bool]) -> None:
    """The database says up to which decision people were told."""
    async with asyncio.timeout(60):
        # Another process writes it: there is nothing to wait on.
        while not true(await backend.state.told()):  # noqa: ASYNC110
            await asyncio.sleep(0.02)


async def test_a_controller_tells_and_tells_what_waits_when_it_is_stopped(tmp_path: Path) -> None:
    stopping = asyncio.Event()

    async def slow(_: web.Request) -> web.Response:
        await stopping.wait()
        return web.Response()

    async with receiving(slow) as (receiver, hook), database(tmp_path) as (backend, url):
        variables = {"ROLLOUT_NOTIFY_WEBHOOK": hook, "ROLLOUT_NOTIFY_SECRET": SECRET}
        process = await controller(url, **variables)
        await leads(backend)
        await steer.pause(backend, "profile", reason="lunch", actor="ann")
        await until(lambda: len(receiver.seen) == 1)
        process.send_signal(signal.SIGTERM)
        asyncio.get_running_loop().call_later(0.2, stopping.set)
        _, printed = await asyncio.wait_for(process.communicate(), 60)
        (newest, *_) = await backend.state.decisions(limit=1)
        assert process.returncode == 0
        assert await backend.state.told() == newest.number
        assert await backend.state.holder("controller") is None
    assert b"token" not in printed
    assert SECRET.encode() not in printed


async def test_what_a_killed_controller_could_not_tell_is_told_by_the_next_with_the_same_key(tmp_path: Path) -> None:
    async with receiving(hanging) as (lost, bad), receiving() as (receiver, good), database(tmp_path) as (backend, url):
        process = await controller(url, ROLLOUT_NOTIFY_SLACK=bad)
        await leads(backend)
        await steer.pause(backend, "profile", reason="lunch", actor="ann")
        await until(lambda: len(lost.seen) == 1)
        process.kill()
        await process.communicate()
        for _ in range(2):
            process = await controller(url, ROLLOUT_NOTIFY_SLACK=good)
            (newest, *_) = await backend.state.decisions(limit=1)
            await noted(backend, partial(eq, newest.number))
            process.terminate()
            await process.communicate()
    ((first, told), (second, again)) = lost.seen + receiver.seen
    assert first.headers["Idempotency-Key"] == second.headers["Idempotency-Key"]
    assert told == again
