"""The dashboard in a browser, with real clicks, before servers that live and die."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import NamedTuple

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import RawTestServer

pytest.importorskip("nicegui", reason="the dashboard needs NiceGUI")

from tests.e2e import browser
from tests.e2e.browser import Page, browse
from tests.e2e.clients import http
from tests.e2e.dashboard import dashboard
from tests.e2e.media_models import write_media
from tests.e2e.models import write_fake
from tests.e2e.server import Server
from tests.unit.media.files import flag

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(browser.PROGRAM is None, reason="no Chromium here"),
]

ROW = "[...document.querySelectorAll('tr')].find((one) => one.innerText.includes('%s'))"
BUTTON = "[...document.querySelectorAll('button')].find((one) => one.innerText.endsWith('%s'))"
LINK = "[...document.querySelectorAll('header a')].find((one) => one.innerText === '%s')"
P99 = "[...document.querySelectorAll('.q-card')].find((one) => /^p99/.test(one.innerText))"
TEXT = "document.body.innerText.includes(%r)"
SELECT = "[...document.querySelectorAll('.q-select')].find((one) => one.innerText.includes('%s'))"
CHOICE = "[...document.querySelectorAll('.q-menu .q-item')].find((one) => one.innerText === '%s')"
WRITE = """(() => { const field = document.querySelector('textarea'); field.value = %s;
  field.dispatchEvent(new Event('input', { bubbles: true })); })()"""
CARD = "[...document.querySelectorAll('.q-card')].find((one) => one.innerText.includes('%s'))"


class Shown(NamedTuple):
    """A page of two servers: one that serves, and an address at which nobody does."""

    page: str
    server: Server
    models: Path
    absent: str


@pytest.fixture(scope="module")
def shown(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shown]:
    root = write_media(tmp_path_factory.mktemp("shown"))
    write_fake(root / "echo" / "1" / "model.fake")
    write_fake(root / "heavy" / "1" / "model.fake", load_ms=1500)
    with socket.create_server(("127.0.0.1", 0)) as free:
        absent = f"http://127.0.0.1:{free.getsockname()[1]}"
    with (
        Server(root, "--model-control", "explicit") as server,
        dashboard(server.url, absent) as page,
    ):
        yield Shown(page, server, root, absent)


@contextlib.asynccontextmanager
async def _asked(server: Server, model: str) -> AsyncIterator[None]:
    """One client asks a model as fast as it answers, while the context is open."""

    async def ask() -> None:
        async with aiohttp.ClientSession() as session:
            while True:
                body = {"input": [[1, 2, 3, 4]]}
                async with session.post(f"{server.url}/predict/{model}", json=body) as answer:
                    await answer.read()

    async with asyncio.TaskGroup() as tasks:
        asking = tasks.create_task(ask())
        yield
        asking.cancel()


async def _cell(page: Page, model: str, column: int) -> str:
    return str(await page.evaluate(f"({ROW % model}).cells[{column}].innerText"))


async def test_rates_latencies_and_charts_of_a_model_under_load(
    shown: Shown, tmp_path: Path
) -> None:
    async with browse("about:blank", tmp_path) as page:
        await page.tell("Network.enable")
        await page.open(shown.page)
        # What is predicted is predicted by a process that stands back from all others.
        await page.until(f"/0 % of \\d/.test(({ROW % 'echo 1'}).innerText)", timeout_s=90)
        async with _asked(shown.server, "echo"):
            await page.until(f"parseFloat(({ROW % 'echo 1'}).cells[2].innerText) > 0")
            assert await _cell(page, "color 1", 2) == "0"

            await page.click(f"({ROW % 'echo 1'}).cells[0]")
            await page.until("document.querySelectorAll('canvas').length === 6")
            await page.until(f"/\\d/.test(({P99}).innerText.split('\\n').at(-1))")
            await page.until("document.querySelector('.phases span')")  # of the slowest requests
        assert page.complaints == []
        assert all(url.startswith((shown.page, "data:")) for url in page.asked)


def test_names_of_others_that_lead_here_are_not_answered(shown: Shown) -> None:
    """Else any page on the web could, by a name of its own for this machine."""
    assert http(shown.page)[0] == 200
    assert http(shown.page, headers={"host": "evil.example"})[0] == 400


@pytest.mark.parametrize("host", ["localhost", "evil.example"])
def test_no_page_may_show_it_in_a_frame(shown: Shown, host: str) -> None:
    """Else any page on the web could have its visitors click on what they do not see."""
    for path in ("/", "/models", "/_nicegui/nowhere"):
        headers = http(f"{shown.page}{path}", headers={"host": host})[2]
        assert headers["content-security-policy"] == "frame-ancestors 'none'"
        assert headers["x-frame-options"] == "DENY"


async def test_unload_asks_first_and_then_unloads(shown: Shown, tmp_path: Path) -> None:
    async with browse(f"{shown.page}/models", tmp_path) as page:
        state = f"({ROW % 'peak'}).cells[2].innerText"
        await page.until(f"({ROW % 'peak'}) && {state} === 'serving'")
        unload = f"({ROW % 'peak'}).querySelector('button[aria-label=\"unload peak 1\"]')"
        await page.click(unload)
        await page.click(BUTTON % "CANCEL")
        assert http(f"{shown.server.url}/v2/models/peak/ready")[0] == 200
        await page.click(unload)
        await page.click(BUTTON % "UNLOAD IT")
        await page.until(f"{state} === 'unloaded'")
        assert http(f"{shown.server.url}/v2/models/peak/ready")[0] != 200
        await page.click(f"({ROW % 'peak'}).querySelector('button[aria-label=\"load peak 1\"]')")
        await page.until(f"{state} === 'serving'")
        assert page.complaints == []


async def test_an_image_is_tried_and_answered_by_day_and_by_night(
    shown: Shown, tmp_path: Path
) -> None:
    (tmp_path / "flag.png").write_bytes(flag())
    async with browse(shown.page, tmp_path / "profile") as page:
        await page.click(LINK % "Try it")
        await page.until(TEXT % "photo UINT8")
        await page.click(BUTTON % "SEND")
        await page.until(TEXT % "give an image first")
        await page.choose_file("input[accept='image/*']", tmp_path / "flag.png")
        await page.until("document.querySelector('img[src^=\"data:image/png\"]')")
        await page.click(BUTTON % "SEND")
        await page.until(TEXT % "[[127.5, 0.0, 127.5]]")
        await page.until(TEXT % "ms in the server")

        await page.until("!document.body.classList.contains('body--dark')")
        await page.click("document.querySelector('[aria-label=\"light or dark\"]')")
        await page.until("document.body.classList.contains('body--dark')")
        assert page.complaints == []


async def test_what_came_of_an_order_is_told_on_whichever_page(
    shown: Shown, tmp_path: Path
) -> None:
    assert http(f"{shown.server.url}/v2/repository/models/heavy/unload", {})[0] == 200
    async with browse(f"{shown.page}/models", tmp_path) as page:
        await page.click(f"({ROW % 'heavy'}).querySelector('button[aria-label=\"load heavy 1\"]')")
        await page.until(TEXT % "load heavy …")
        await page.click(LINK % "Overview")
        await page.until(TEXT % "load heavy: done")
        assert page.complaints == []


async def test_what_a_field_cannot_carry_is_said_and_a_file_carries_it(
    shown: Shown, tmp_path: Path
) -> None:
    (tmp_path / "long.json").write_text("[[5, 6, 7, 8]]" + " " * 1_000_000)
    async with browse(f"{shown.page}/try", tmp_path / "profile") as page:
        await page.click(SELECT % "color")
        await page.click(CHOICE % "echo")
        await page.until(f"{TEXT % 'echo version 1'} && document.querySelector('textarea')")
        await page.evaluate(WRITE % "'[[4, 3, 2, 1]]' + ' '.repeat(1_000_000)")
        await page.click(BUTTON % "SEND")
        await page.until(TEXT % "1,000,014 characters, more than can come from a field")

        await page.choose_file("input[accept='.json,application/json']", tmp_path / "long.json")
        await page.until(TEXT % "long.json · 1,000,014 bytes")
        await page.click(BUTTON % "SEND")
        await page.until(TEXT % "[[5.0, 6.0, 7.0, 8.0]]")

        await page.click(BUTTON % "write instead")
        await page.until(f"!({BUTTON % 'write instead'})")  # the field is back, and all holds still
        await page.evaluate(WRITE % "'[[9, 8, 7, 6]]'")
        await page.click(BUTTON % "SEND")
        await page.until(TEXT % "[[9.0, 8.0, 7.0, 6.0]]")
        assert page.complaints == []


async def test_a_server_that_answers_late_does_not_replace_the_models_of_another(
    shown: Shown, tmp_path: Path
) -> None:
    asked, told, answered = asyncio.Event(), asyncio.Event(), asyncio.Event()

    async def answer(request: web.BaseRequest) -> web.Response:
        if request.path != "/openapi.json":
            return web.Response(status=404)
        asked.set()
        await told.wait()
        response = web.json_response({"x-headrace-models": []})
        await response.prepare(request)
        await response.write_eof()
        answered.set()
        return response

    port = int(shown.absent.rpartition(":")[2])
    async with (
        RawTestServer(answer, host="127.0.0.1", port=port),
        browse(f"{shown.page}/try", tmp_path) as page,
    ):
        await page.click(BUTTON % "SEND")
        await page.until(TEXT % "give an image first")
        await page.click(SELECT % shown.server.url)
        await page.click(CHOICE % shown.absent)
        await asked.wait()
        await page.click(SELECT % shown.absent)
        await page.click(CHOICE % shown.server.url)
        await page.until(f"!{TEXT % 'give an image first'}")  # its form is drawn anew
        told.set()
        await answered.wait()
        await page.click(BUTTON % "SEND")
        await page.until(TEXT % "give an image first")
        assert not await page.evaluate(TEXT % "No model serves there now.")


async def test_a_server_that_dies_is_down_and_one_that_comes_is_up(
    shown: Shown, tmp_path: Path
) -> None:
    badge = f"({CARD % shown.absent}).querySelector('.q-badge').innerText"
    async with browse(shown.page, tmp_path) as page:
        await page.until(f"({CARD % shown.absent}) && {badge} === 'down'")
        await page.until(f"({CARD % shown.absent}).innerText.includes('nobody answers')")
        model = write_fake(tmp_path / "late" / "1" / "model.fake")
        port = shown.absent.rpartition(":")[2]
        with Server(model, "--name", "late", "--host", "127.0.0.1", "--port", port):
            await page.until(f"{badge} === 'up'")
            await page.until(ROW % "late 1")
        await page.until(f"{badge} === 'down'")
        assert page.complaints == []
