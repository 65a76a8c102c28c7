"""A headless Chromium, driven by its DevTools protocol."""

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

BROWSERS = ("chromium", "chromium-browser", "google-chrome")


def find_browser() -> str | None:
    """Path of the first of `BROWSERS` that is installed."""
    return next((path for name in BROWSERS if (path := shutil.which(name))), None)


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

    async def wait(self, event: str) -> None:
        """Wait for an event that has not come yet."""
        while not any(found.get("method") == event for found in self.events):
            self.events.append(await self._next())

    async def _next(self) -> dict[str, Any]:
        text = await asyncio.wait_for(self.socket.read_message(), 60)
        if text is None:
            raise RuntimeError("the browser closed its connection")
        return dict(json.loads(text))


async def listening(note: Path) -> str:
    """Address of the browser, from the note that it leaves once it listens."""
    for _ in range(300):
        if note.is_file() and len(lines := note.read_text().split()) == 2:
            return f"ws://127.0.0.1:{lines[0]}{lines[1]}"
        await asyncio.sleep(0.1)
    raise TimeoutError("the browser did not start within half a minute")


@asynccontextmanager
async def opened(program: str) -> AsyncIterator[Browser]:
    """Open a blank page of a browser of its own, which ends with the context."""
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        command = [program, "--headless=new", "--no-sandbox", "--disable-gpu", "--hide-scrollbars"]
        command += [f"--user-data-dir={profile}", "--remote-debugging-port=0", "about:blank"]
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            address = await listening(Path(profile) / "DevToolsActivePort")
            main = Browser(await websocket_connect(address, max_message_size=2**28))
            target = (await main.say("Target.createTarget", url="about:blank"))["targetId"]
            own = f"{address.rsplit('/devtools', 1)[0]}/devtools/page/{target}"
            browser = Browser(await websocket_connect(own, max_message_size=2**28))
            for domain in ("Page", "Runtime", "Log", "Network"):
                await browser.say(f"{domain}.enable")
            yield browser
            for one in (browser, main):
                one.socket.close()
                while await one.socket.read_message() is not None:
                    pass  # what was said before it closed
        finally:
            process.terminate()
            process.wait()
