"""The page at /docs in a browser: it draws itself within its own policy, and its form works."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e import browser
from tests.e2e.browser import UNTIL, Page, browse
from tests.e2e.media_models import write_media, write_mixed
from tests.e2e.models import write_fake
from tests.e2e.server import Server
from tests.unit.media.files import flag

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(browser.PROGRAM is None, reason="no Chromium here"),
]

CARD = "[...document.querySelectorAll('details')].find((one) => one.innerText.startsWith('%s'))"
ANSWERED = "/ms$/.test(%s.querySelector('[role=status]').textContent)"


@pytest.fixture(scope="module")
def documented(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    root = write_media(tmp_path_factory.mktemp("documented"))
    write_mixed(root)
    write_fake(root / "echo" / "1" / "model.fake")
    with Server(root) as running:
        yield running


async def _send(page: Page, name: str) -> tuple[str, str]:
    """Press the button of a model; return the status and the answer."""
    card = CARD % name
    await page.evaluate(f"{card}.open = true")
    await page.evaluate(f"{card}.querySelector('button').click()")
    await page.evaluate(UNTIL % (ANSWERED % card))
    status = await page.evaluate(f"{card}.querySelector('[role=status]').textContent")
    return status, await page.evaluate(f"{card}.querySelectorAll('pre')[0].textContent")


async def test_the_page_shows_every_model_and_its_forms_work(
    documented: Server, tmp_path: Path
) -> None:
    async with browse(f"{documented.url}/docs", tmp_path / "profile") as page:
        await page.evaluate(UNTIL % "document.querySelectorAll('tbody tr').length > 20")
        names = "[...document.querySelectorAll('h3')].map((one) => one.textContent)"
        assert await page.evaluate(names) == ["color", "echo", "mixed", "peak", "tokens"]
        table = await page.evaluate("document.getElementById('endpoints').innerText")
        assert "/predict/{model}" in table

        status, answer = await _send(page, "echo")
        assert status.startswith("200 in")
        assert answer == '{"output":[[0.0,0.0,0.0,0.0]]}'
        status, answer = await _send(page, "tokens")
        assert answer == '{"output":[[1,1,1]]}'  # "Some text." in its small vocabulary

        (tmp_path / "it's.png").write_bytes(flag())
        await page.choose_file("input[accept='image/*']", tmp_path / "it's.png")
        status, answer = await _send(page, "color")
        assert answer == '{"output":[[127.5,0.0,127.5]]}'
        command = await page.evaluate((CARD % "color") + ".querySelectorAll('pre')[1].textContent")
        assert command == f"curl '{documented.url}/predict/color' -F 'photo=@it'\\''s.png'"
        assert page.complaints == []  # neither errors nor breaches of the policy


async def test_text_and_numbers_go_beside_a_file(documented: Server, tmp_path: Path) -> None:
    (tmp_path / "flag.png").write_bytes(flag())
    async with browse(f"{documented.url}/docs", tmp_path / "profile") as page:
        await page.evaluate(UNTIL % "document.querySelector('details')")
        picker = "input[aria-label='image for photo']"
        await page.evaluate(f"({CARD % 'color'}).remove()")  # its picker is called the same
        await page.choose_file(picker, tmp_path / "flag.png")
        status, answer = await _send(page, "mixed")
        assert status.startswith("200 in"), answer
        assert '"ids":[[1,1,1]],"scaled":[[0.0]]' in answer


async def test_a_refusal_is_shown_as_one(documented: Server, tmp_path: Path) -> None:
    async with browse(f"{documented.url}/docs", tmp_path) as page:
        await page.evaluate(UNTIL % "document.querySelector('details')")
        await page.evaluate(f"({CARD % 'echo'}).querySelector('textarea').value = '<b>hi</b>'")
        status, answer = await _send(page, "echo")
        assert status.startswith("400 in")
        assert answer.startswith('{"error":"JSON Parse error')
        assert await page.evaluate("document.querySelector('main b')") is None
