"""Headless Chromium, spoken to by its DevTools protocol."""

from __future__ import annotations

import asyncio
import itertools
import json
import shutil
import subprocess
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from tornado.websocket import WebSocketClientConnection, websocket_connect

_PROGRAMS = ("chromium", "chromium-browser", "google-chrome")


def find_browser() -> str | None:
    """Path of an installed browser."""
    return next((path for name in _PROGRAMS if (path := shutil.which(name))), None)


class Browser:
    """A page of a running Chromium, spoken to by its DevTools protocol."""

    def __init__(self, socket: WebSocketClientConnection) -> None:
        self.socket = socket
        self.number = itertools.count(1)
        self.events: list[dict[str, Any]] = []

    async def say(self, method: str, **parameters: Any) -> dict[str, Any]:
        """Send one command and wait for its answer; events on the way are kept."""
        number = next(self.number)
        message = {"id": number, "method": method, "params": parameters}
        await self.socket.write_message(json.dumps(message))
        while True:
            answer = await self._next()
            if answer.get("id") == number:
                if "error" in answer:
                    raise RuntimeError(f"{method}: {answer['error']['message']}")
                return dict(answer["result"])
            self.events.append(answer)

    async def evaluate(self, expression: str) -> Any:
        """Value of an expression in the page, awaited if it is a promise.

        Raises
        ------
        RuntimeError
            What the page threw.
        """
        answer = await self.say(
            "Runtime.evaluate", expression=expression, awaitPromise=True, returnByValue=True
        )
        if "exceptionDetails" in answer:
            details = answer["exceptionDetails"]
            raise RuntimeError(details.get("exception", {}).get("description", details["text"]))
        return answer["result"].get("value")

    async def wait(self, event: str) -> None:
        """Wait for an event that has not come yet."""
        while not any(found.get("method") == event for found in self.events):
            self.events.append(await self._next())

    async def _next(self) -> dict[str, Any]:
        text = await asyncio.wait_for(self.socket.read_message(), 60)
        if text is None:
            raise RuntimeError("the browser closed its connection")
        return dict(json.loads(text))


def complaints(events: list[dict[str, Any]]) -> list[str]:
    """Sort console errors and requests to elsewhere out of what the browser said."""
    found = []
    for event in events:
        method, given = event.get("method"), event.get("params", {})
        if method == "Runtime.exceptionThrown":
            details = given["exceptionDetails"]
            found.append(details.get("exception", {}).get("description", details["text"]))
        elif method == "Log.entryAdded" and given["entry"]["level"] == "error":
            found.append(f"{given['entry']['text']} {given['entry'].get('url', '')}")
        elif method == "Runtime.consoleAPICalled" and given["type"] == "error":
            found.append(" ".join(str(a.get("value", a.get("description"))) for a in given["args"]))
        elif method == "Network.requestWillBeSent":
            url = given["request"]["url"]
            if not url.startswith(("file:", "data:", "blob:", "chrome-")):
                found.append(f"asks {url} from the network")
    return found


async def _listening(note: Path) -> str:
    """Give the address of the browser, from the note that it leaves once it listens."""
    for _ in range(300):
        if note.is_file() and len(lines := note.read_text().split()) == 2:
            return f"ws://127.0.0.1:{lines[0]}{lines[1]}"
        await asyncio.sleep(0.1)
    raise SystemExit("the browser did not start within half a minute")


@asynccontextmanager
async def open_browser() -> AsyncIterator[Browser]:
    """Start a browser with an empty page, and end it.

    Raises
    ------
    SystemExit
        If none is installed, or it does not start.
    """
    program = find_browser()
    if program is None:
        raise SystemExit(f"no browser: expected one of {', '.join(_PROGRAMS)}; install chromium")
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        command = [program, "--headless=new", "--no-sandbox", "--disable-gpu", "--hide-scrollbars"]
        command += [f"--user-data-dir={profile}", "--remote-debugging-port=0", "about:blank"]
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            address = await _listening(Path(profile) / "DevToolsActivePort")
            main = Browser(await websocket_connect(address, max_message_size=2**28))
            target = (await main.say("Target.createTarget", url="about:blank"))["targetId"]
            own = f"{address.rsplit('/devtools', 1)[0]}/devtools/page/{target}"
            browser = Browser(await websocket_connect(own, max_message_size=2**28))
            for domain in ("Page", "Runtime", "Log", "Network"):
                await browser.say(f"{domain}.enable")
            yield browser
            for one in (browser, main):
                one.socket.close()
        finally:
            process.terminate()
            process.wait()
