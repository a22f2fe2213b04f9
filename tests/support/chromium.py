"""A real browser for tests: Chromium, headless, spoken to over its DevTools protocol.

    async with browser() as chromium, chromium.tab(width=390, dark=True) as tab:
        await tab.open("http://127.0.0.1:8321/rollout")
        await tab.value("document.title")
        tab.complaints          # violations of the page's policy, and errors of its scripts

Python has no small client for the protocol; it is JSON over a WebSocket, which aiohttp speaks.
"""

from __future__ import annotations

import asyncio
import base64
import itertools
import json
import shutil
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import aiohttp
import pytest

CHROMIUM = shutil.which("chromium")
needs_chromium = [
    pytest.mark.browser,
    pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium, and there is none on the PATH"),
]
_OPTIONS = ("--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run", "--mute-audio")


class Browser:
    """One process. ``send`` is the protocol; what a tab hears goes to its queue."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self._socket = socket
        self._ids = itertools.count(1)
        self._answers: dict[int, asyncio.Future[dict[str, Any]]] = {}
        self._tabs: dict[str, Tab] = {}
        self._reading = asyncio.create_task(self._read())

    async def send(self, method: str, session: str | None = None, **parameters: Any) -> dict[str, Any]:
        """The answer of a method; ``AssertionError`` with what the browser says against it."""
        number = next(self._ids)
        answer = self._answers[number] = asyncio.get_running_loop().create_future()
        message = {"id": number, "method": method, "params": parameters}
        await self._socket.send_json(message if session is None else {**message, "sessionId": session})
        found = await asyncio.wait_for(answer, 30)
        assert "error" not in found, f"{method}: {found['error']}"
        result: dict[str, Any] = found["result"]
        return result

    async def _read(self) -> None:
        async for message in self._socket:
            said = json.loads(message.data)
            if "id" in said:
                answer = self._answers.pop(said["id"])
                if not answer.done():
                    answer.set_result(said)
            elif (tab := self._tabs.get(said.get("sessionId", ""))) is not None:
                tab.hear(said["method"], said["params"])

    async def close(self) -> None:
        with suppress(AssertionError, TimeoutError):
            await self.send("Browser.close")
        self._reading.cancel()
        await asyncio.wait({self._reading})

    @asynccontextmanager
    async def tab(self, *, width: int = 1280, dark: bool = False, scripts: bool = True) -> AsyncIterator[Tab]:
        """A tab with cookies of its own. ``width`` in CSS pixels; ``scripts``: whether the page's run."""
        context = (await self.send("Target.createBrowserContext"))["browserContextId"]
        target = (await self.send("Target.createTarget", url="about:blank", browserContextId=context))["targetId"]
        session = (await self.send("Target.attachToTarget", targetId=target, flatten=True))["sessionId"]
        tab = self._tabs[session] = Tab(self, session)
        for domain in ("Page", "Runtime", "Log", "Network", "Audits"):
            await tab.send(f"{domain}.enable")
        screen = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 600}
        await tab.send("Emulation.setDeviceMetricsOverride", **screen)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        await tab.send("Emulation.setEmulatedMedia", features=[scheme])
        await tab.send("Emulation.setScriptExecutionDisabled", value=not scripts)
        try:
            yield tab
        finally:
            del self._tabs[session]
            await self.send("Target.disposeBrowserContext", browserContextId=context)


class Tab:
    """A page. ``complaints``: violations of its content policy, exceptions and errors so far. ``status``: of the last
    document that it loaded."""

    def __init__(self, browser: Browser, session: str) -> None:
        self.complaints: list[str] = []
        self.status = 0
        self._browser = browser
        self._session = session
        self._loaded = asyncio.Event()

    async def send(self, method: str, **parameters: Any) -> dict[str, Any]:
        return await self._browser.send(method, self._session, **parameters)

    def hear(self, method: str, said: dict[str, Any]) -> None:
        match method:
            case "Page.loadEventFired":
                self._loaded.set()
            case "Network.responseReceived" if said["type"] == "Document":
                self.status = said["response"]["status"]
            case "Page.javascriptDialogOpening":
                self.complaints.append(f"a dialog: {said['message']}")
            case "Runtime.exceptionThrown":
                self.complaints.append(str(said["exceptionDetails"].get("exception", said["exceptionDetails"])))
            case "Log.entryAdded" if said["entry"]["level"] == "error" and said["entry"]["source"] != "network":
                self.complaints.append(said["entry"]["text"])
            case "Audits.issueAdded" if said["issue"]["code"] == "ContentSecurityPolicyIssue":
                self.complaints.append(json.dumps(said["issue"]["details"]))

    async def open(self, url: str) -> None:
        """Load a page, and wait until it has loaded."""
        self._loaded.clear()
        await self.send("Page.navigate", url=url)
        await self.loaded()

    async def loaded(self) -> None:
        """Wait until the page that is being loaded has loaded. ``leaving`` goes before what makes it load."""
        async with asyncio.timeout(30):
            await self._loaded.wait()

    def leaving(self) -> None:
        """What comes next loads another page."""
        self._loaded.clear()

    async def value(self, expression: str) -> Any:
        """What an expression, or the promise that it makes, comes to. It is evaluated with scripts off as well."""
        found = await self.send("Runtime.evaluate", expression=expression, awaitPromise=True, returnByValue=True)
        assert "exceptionDetails" not in found, found["exceptionDetails"]
        return found["result"].get("value")

    async def until(self, expression: str) -> None:
        """Wait until an expression is true: asked again and again, for a page whose policy forbids scripts of others
        cannot be made to tell."""
        async with asyncio.timeout(20):
            while not await self.value(expression):  # noqa: ASYNC110
                await asyncio.sleep(0.02)

    async def press(self, *keys: str) -> None:
        """Keys of the keyboard, one after the other: ``Tab``, ``Enter``, ``Escape``; anything else is typed as text."""
        for key in keys:
            code = {"Tab": 9, "Enter": 13, "Escape": 27, "Space": 32}.get(key)
            if code is None:
                await self.send("Input.insertText", text=key)
                continue
            name, text = ("Space", " ") if key == "Space" else (key, {"Enter": "\r"}.get(key, ""))
            said = {"key": text if key == "Space" else key, "code": name, "windowsVirtualKeyCode": code}
            await self.send("Input.dispatchKeyEvent", type="keyDown" if text else "rawKeyDown", text=text, **said)
            await self.send("Input.dispatchKeyEvent", type="keyUp", **said)

    async def screenshot(self, file: Path) -> None:
        """The whole page, as a PNG."""
        shot = await self.send("Page.captureScreenshot", captureBeyondViewport=True)
        file.write_bytes(base64.b64decode(shot["data"]))


@asynccontextmanager
async def browser() -> AsyncIterator[Browser]:
    """A Chromium of the test's own, which ends with it."""
    assert CHROMIUM is not None
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        process = await asyncio.create_subprocess_exec(
            *(CHROMIUM, *_OPTIONS, "--remote-debugging-port=0", f"--user-data-dir={profile}", "about:blank"),
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.PIPE,
        )
        try:
            address = await asyncio.wait_for(_address(process), 60)
            async with aiohttp.ClientSession() as client, client.ws_connect(address, max_msg_size=0) as socket:
                started = Browser(socket)
                yield started
                await started.close()
        finally:
            with suppress(ProcessLookupError):
                process.terminate()
            await process.wait()


async def _address(process: asyncio.subprocess.Process) -> str:
    """Where it listens, which it tells on stderr."""
    assert process.stderr is not None
    said = []
    async for line in process.stderr:
        text = line.decode(errors="replace").strip()
        said.append(text)
        if text.startswith("DevTools listening on "):
            return text.rpartition(" ")[2]
    raise AssertionError("Chromium ended:\n" + "\n".join(said[-20:]))
