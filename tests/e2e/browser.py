"""Chromium without a window, told what to do over its DevTools protocol."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp

PROGRAM = shutil.which("chromium") or shutil.which("google-chrome")
_START_TIMEOUT_S = 60

# Resolves when what is asked for is there; the page changes, and nothing polls.
UNTIL = """new Promise((done) => {
  const look = () => {
    let found;
    try { found = %s; } catch { return; }  // a part of it is not there yet
    if (found) { watch.disconnect(); done(true); }
  };
  const watch = new MutationObserver(look);
  const all = { subtree: true, childList: true, characterData: true, attributes: true };
  watch.observe(document, all);
  look();
})"""
# The middle of an element, when two frames have drawn it in the same place.
_STILL = """new Promise((done) => {
  const place = () => {
    const at = (%s)?.getBoundingClientRect();
    return at && at.width ? { x: at.x + at.width / 2, y: at.y + at.height / 2 } : null;
  };
  const look = (before) => requestAnimationFrame(() => {
    const now = place();
    if (before && now && before.x === now.x && before.y === now.y) done(now);
    else look(now);
  });
  look(null);
})"""
_IN_VIEW = "(%s).scrollIntoView({ block: 'center', behavior: 'instant' })"


class Page:
    """One page: evaluate in it, and what it complained of."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self._socket = socket
        self._number = 0
        self._loaded = False
        self.complaints: list[str] = []
        self.asked: list[str] = []

    async def tell(self, method: str, **parameters: Any) -> Any:
        """Send a command and return its result."""
        self._number += 1
        await self._socket.send_json({"id": self._number, "method": method, "params": parameters})
        while True:
            message = await self._socket.receive_json(timeout=_START_TIMEOUT_S)
            if message.get("id") == self._number:
                if "error" in message:
                    raise AssertionError(message["error"])
                return message["result"]
            self._note(message)

    def _note(self, message: dict[str, Any]) -> None:
        method = message.get("method")
        if method == "Page.loadEventFired":
            self._loaded = True
        if method in {"Log.entryAdded", "Runtime.exceptionThrown"}:
            self.complaints.append(str(message["params"]))
        if method == "Network.requestWillBeSent":
            self.asked.append(message["params"]["request"]["url"])

    async def open(self, url: str) -> None:
        """Go to an address and wait until it has loaded."""
        self._loaded = False
        await self.tell("Page.navigate", url=url)
        while not self._loaded:
            message = await self._socket.receive_json(timeout=_START_TIMEOUT_S)
            self._note(message)

    async def evaluate(self, script: str) -> Any:
        """The value of an expression; a promise is awaited."""
        found = await self.tell(
            "Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True
        )
        if "exceptionDetails" in found:
            raise AssertionError(found["exceptionDetails"])
        return found["result"].get("value")

    async def until(self, script: str, timeout_s: float = 45) -> None:
        """Wait until an expression is true."""
        try:
            async with asyncio.timeout(timeout_s):
                await self.evaluate(UNTIL % script)
        except TimeoutError as error:
            seen = await self.evaluate("document.body.innerText")
            raise AssertionError(f"not within {timeout_s} s: {script}, but\n{seen}") from error

    async def click(self, element: str) -> None:
        """Press the mouse on an element, once it is there and holds still."""
        await self.until(element)
        await self.evaluate(_IN_VIEW % element)
        place = await self.evaluate(_STILL % element)
        for kind in ("mousePressed", "mouseReleased"):
            await self.tell(
                "Input.dispatchMouseEvent", type=kind, button="left", clickCount=1, **place
            )

    async def choose_file(self, selector: str, path: Path) -> None:
        """Give a file to an input."""
        document = await self.tell("DOM.getDocument")
        node = await self.tell(
            "DOM.querySelector", nodeId=document["root"]["nodeId"], selector=selector
        )
        await self.tell("DOM.setFileInputFiles", files=[str(path)], **node)


@contextlib.asynccontextmanager
async def browse(url: str, folder: Path) -> AsyncIterator[Page]:
    """Open a page in a browser of its own."""
    process = await asyncio.create_subprocess_exec(
        str(PROGRAM),
        "--headless=new",
        "--no-sandbox",
        "--disable-gpu",
        "--disable-background-networking",
        f"--user-data-dir={folder}",
        "--remote-debugging-port=0",
        "about:blank",
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        async with asyncio.timeout(_START_TIMEOUT_S):
            port = await _port(process)
        async with aiohttp.ClientSession() as session:
            async with session.get(f"http://127.0.0.1:{port}/json") as answer:
                targets = await answer.json()
            target = next(one for one in targets if one["type"] == "page")
            async with session.ws_connect(target["webSocketDebuggerUrl"]) as socket:
                page = Page(socket)
                for domain in ("Log", "Runtime", "DOM", "Page"):
                    await page.tell(f"{domain}.enable")
                await page.open(url)
                yield page
    finally:
        process.kill()
        await process.wait()


async def _port(process: asyncio.subprocess.Process) -> int:
    """The port that it says it listens on."""
    if process.stderr is None:
        raise AssertionError("it was started with a pipe")
    async for text in process.stderr:
        if b"DevTools listening on" in text:
            return int(text.split(b":")[-1].split(b"/")[0])
    raise AssertionError("the browser ended before it listened")
