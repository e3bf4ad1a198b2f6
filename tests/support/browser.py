"""Headless Chromium as an instrument: what a page says on the console, what it asks the network for, and how it looks.

python -m tests.support.browser report.html shot          shot-1280-light.png, shot-390-dark.png, ...
"""

from __future__ import annotations

import asyncio
import base64
import itertools
import shutil
import sys
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import aiohttp

FLAGS = [
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--no-first-run",
    "--disable-background-networking",
    "--remote-debugging-port=0",
]
PROGRAM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


@dataclass
class Seen:
    """What came of a page.

    Attributes:
        errors: messages of level error, and exceptions.
        requests: addresses that it asked for, its own included.
        value: of the expression that was asked for.
        shot: the whole page as PNG.
    """

    errors: list[str] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)
    value: Any = None
    shot: bytes = b""


def visit(
    page: Path, expression: str, *, width: int = 1280, dark: bool = False, ready: str = "true", seconds: float = 60
) -> Seen:
    """Open a file, wait until `ready` is true, evaluate an expression, take a picture of all of it.

    Args:
        page: an HTML file.
        expression: JavaScript, evaluated in the page; a promise is waited for.
        width: of the window in CSS pixels; below 600 a phone with a touch screen.
        dark: prefer a dark page.
        ready: JavaScript that is true as soon as the page is complete.
        seconds: after which a TimeoutError is raised.
    """
    return asyncio.run(asyncio.wait_for(_visit(page, expression, width, dark, ready), seconds))


async def _visit(page: Path, expression: str, width: int, dark: bool, ready: str) -> Seen:
    async with AsyncExitStack() as stack:
        tab = await stack.enter_async_context(_Tab())
        for domain in ("Page", "Runtime", "Log", "Network"):
            await tab.call(f"{domain}.enable")
        phone = width < 600
        await tab.call("Emulation.setDeviceMetricsOverride", width=width, height=900, deviceScaleFactor=1, mobile=phone)
        await tab.call("Emulation.setTouchEmulationEnabled", enabled=phone)
        await tab.call(
            "Emulation.setEmulatedMedia",
            features=[{"name": "prefers-color-scheme", "value": "dark" if dark else "light"}],
        )
        await tab.call("Page.navigate", url=page.resolve().as_uri())
        while not await tab.evaluate(f"document.readyState === 'complete' && ({ready})"):
            await asyncio.sleep(0.1)
        tab.seen.value = await tab.evaluate(expression)
        await tab.evaluate(
            "Promise.all([...document.images].map((image) => ((image.loading = 'eager'), image.decode())))"
        )
        size = (await tab.call("Page.getLayoutMetrics"))["cssContentSize"]
        clip = {"x": 0, "y": 0, "width": width, "height": size["height"], "scale": 1}
        shot = await tab.call("Page.captureScreenshot", format="png", captureBeyondViewport=True, clip=clip)
        tab.seen.shot = base64.b64decode(shot["data"])
        return tab.seen


class _Tab:
    """The only tab of a browser of its own, by the DevTools protocol."""

    def __init__(self) -> None:
        self.seen, self._numbers, self._answers = Seen(), itertools.count(1), dict[int, asyncio.Future[Any]]()

    async def __aenter__(self) -> _Tab:
        assert PROGRAM is not None
        self._stack = AsyncExitStack()
        profile = self._stack.enter_context(TemporaryDirectory(ignore_cleanup_errors=True))
        command = [PROGRAM, *FLAGS, f"--user-data-dir={profile}", "about:blank"]
        self._process = await asyncio.create_subprocess_exec(
            *command, stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.DEVNULL
        )
        port = Path(profile) / "DevToolsActivePort"
        while not (port.exists() and port.read_text().count("\n")):
            await asyncio.sleep(0.05)
        session = await self._stack.enter_async_context(aiohttp.ClientSession())
        async with session.get(f"http://127.0.0.1:{port.read_text().split()[0]}/json/list") as answer:
            address = next(target for target in await answer.json() if target["type"] == "page")["webSocketDebuggerUrl"]
        self._socket = await self._stack.enter_async_context(session.ws_connect(address, max_msg_size=0))
        self._listener = asyncio.create_task(self._listen())
        return self

    async def __aexit__(self, *error: object) -> None:
        self._listener.cancel()
        self._process.terminate()
        await self._process.wait()
        await self._stack.aclose()

    async def call(self, method: str, **parameters: Any) -> Any:
        number = next(self._numbers)
        self._answers[number] = asyncio.get_running_loop().create_future()
        await self._socket.send_json({"id": number, "method": method, "params": parameters})
        answer = await self._answers[number]
        assert "error" not in answer, answer
        return answer["result"]

    async def evaluate(self, expression: str) -> Any:
        answer = await self.call("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in answer, answer
        return answer["result"].get("value")

    async def _listen(self) -> None:
        async for message in self._socket:
            content = message.json()
            if "id" in content:
                self._answers.pop(content["id"]).set_result(content)
            else:
                self._note(content["method"], content["params"])

    def _note(self, event: str, facts: dict[str, Any]) -> None:
        if event == "Network.requestWillBeSent":
            self.seen.requests.append(facts["request"]["url"])
        elif event == "Runtime.exceptionThrown":
            self.seen.errors.append(str(facts["exceptionDetails"]))
        elif event == "Runtime.consoleAPICalled" and facts["type"] in ("error", "assert"):
            self.seen.errors.append(str(facts["args"]))
        elif event == "Log.entryAdded" and facts["entry"]["level"] == "error":
            self.seen.errors.append(facts["entry"]["text"])


if __name__ == "__main__":
    for width, dark in itertools.product((1280, 390), (False, True)):
        seen = visit(
            Path(sys.argv[1]),
            "1",
            width=width,
            dark=dark,
            ready="document.querySelectorAll('.js-plotly-plot').length > 0",
        )
        path = Path(f"{sys.argv[2]}-{width}-{'dark' if dark else 'light'}.png")
        path.write_bytes(seen.shot)
        print(
            path, seen.errors, [address[:80] for address in seen.requests if not address.startswith(("data:", "blob:"))]
        )
