"""What index pages of web servers lead to, and what their errors say."""

from __future__ import annotations

import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from multidict import CIMultiDict, CIMultiDictProxy
from yarl import URL

from headrace.errors import ModelLoadError
from headrace.loader.remote.listing import RemoteFile
from headrace.loader.remote.stores import border, open_store
from headrace.loader.remote.web import Web
from headrace.urls import Url

PLACE = Url.parse("https://h/m")


class _System:
    """As much of fsspec as listing takes: the links of each page, as it makes them whole."""

    def __init__(self, pages: dict[str, list[str]], trouble: Exception | None = None) -> None:
        self._pages = pages
        self._trouble = trouble
        self.asked: list[str] = []

    def ls(self, url: str, *, detail: bool) -> list[str]:
        assert not detail
        self.asked.append(url)
        return [url + link for link in self._pages[url]]

    def info(self, url: str) -> dict[str, Any]:
        raise FileNotFoundError(url) from self._trouble


def _response_error(status: int, query: str = "") -> aiohttp.ClientResponseError:
    headers: CIMultiDictProxy[str] = CIMultiDictProxy(CIMultiDict())
    url = URL(f"https://h/real{query}")
    request = aiohttp.RequestInfo(url, "GET", headers, url)
    return aiohttp.ClientResponseError(request, (), status=status, message="Forbidden")


@pytest.mark.parametrize("before", ["", "./"])
def test_links_may_begin_with_a_dot_and_a_slash(before: str) -> None:
    names = ("1/", "card.yaml", "card.yaml?sort=name", "card.yaml#top")
    pages = {
        "https://h/m/": [*(before + name for name in names), "card.yaml", "..", "../other/"],
        "https://h/m/1/": [f"{before}a%20b.onnx"],
    }
    assert list(Web(_System(pages)).files(PLACE)) == [
        RemoteFile("m/1/a b.onnx", "https://h/m/1/a%20b.onnx"),
        RemoteFile("m/card.yaml", "https://h/m/card.yaml"),
    ]


def test_names_are_read_as_a_page_writes_them() -> None:
    pages = {"https://h/m/": ["a&amp;b.bin", "&eacute;.onnx", "c&d.onnx"]}
    assert {file.name for file in Web(_System(pages)).files(PLACE)} == {
        "m/a&b.bin",
        "m/é.onnx",
        "m/c&d.onnx",
    }


def test_a_name_may_begin_as_a_url_does(tmp_path: Path) -> None:
    for name in ("httpnet", "https", "linear"):
        (tmp_path / "models" / name).mkdir(parents=True)
        (tmp_path / "models" / name / "http.onnx").touch()
    handler = partial(SimpleHTTPRequestHandler, directory=str(tmp_path))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        place = Url.parse(f"http://127.0.0.1:{server.server_port}/models")
        names = {file.name for file in open_store(place).files(place)}
        server.shutdown()
    assert names == {f"models/{name}/http.onnx" for name in ("httpnet", "https", "linear")}


@pytest.mark.parametrize("link", ["gr%C3%B6%C3%9Fe.onnx", "gr%c3%b6%c3%9fe.onnx", "größe.onnx"])
@pytest.mark.parametrize("above", ["", "/m%C3%B6/", "/m%c3%b6/", "/mö/"])
@pytest.mark.parametrize("place", ["mö", "m%c3%b6"])
def test_servers_encode_names_each_in_its_own_way(
    tmp_path: Path, link: str, above: str, place: str
) -> None:
    (tmp_path / "mö").mkdir()
    (tmp_path / "mö" / "größe.onnx").write_text("model")
    page = f'<meta charset="utf-8"><a href="{above}{link}">größe.onnx</a> <a href="/">up</a>'
    (tmp_path / "mö" / "index.html").write_text(page, encoding="utf-8")
    handler = partial(SimpleHTTPRequestHandler, directory=str(tmp_path))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        url = Url.parse(f"http://127.0.0.1:{server.server_port}/{place}")
        store = open_store(url)
        [found] = store.files(url)
        store.fetch(found, tmp_path / "copy", lambda _: None)
        server.shutdown()
    assert found.name == "mö/größe.onnx"
    assert (tmp_path / "copy").read_text() == "model"


def test_a_folder_may_be_called_like_a_file() -> None:
    pages = {"https://h/": ["m.onnx/", "b.onnx"], "https://h/m.onnx/": ["1/"]}
    pages["https://h/m.onnx/1/"] = ["model.onnx"]
    assert list(Web(_System(pages)).files(Url.parse("https://h/m.onnx"))) == [
        RemoteFile("m.onnx/1/model.onnx", "https://h/m.onnx/1/model.onnx")
    ]


def test_hidden_folders_are_not_looked_into() -> None:
    system = _System({"https://h/m/": [".git/", "./.cache/", ".env", "m.onnx"]})
    assert [file.name for file in Web(system).files(PLACE)] == ["m/m.onnx"]
    assert system.asked == ["https://h/m/"]


@pytest.mark.parametrize("trouble", [None, FileNotFoundError("x"), _response_error(403)])
def test_a_file_that_is_not_given_is_not_there(trouble: Exception | None) -> None:
    with pytest.raises(FileNotFoundError):
        Web(_System({}, trouble)).whole(RemoteFile("m/x.txt", "https://h/m/x.txt"))


@pytest.mark.parametrize("trouble", [ConnectionResetError("gone"), _response_error(503)])
def test_a_server_in_trouble_may_have_a_file(trouble: Exception) -> None:
    with pytest.raises(type(trouble)):
        Web(_System({}, trouble)).whole(RemoteFile("m/x.txt", "https://h/m/x.txt"))


def test_what_a_url_was_signed_with_is_not_told() -> None:
    signed = _response_error(403, "?X-Amz-Signature=secret")
    with pytest.raises(ModelLoadError, match="https://h/real") as told, border(PLACE):
        raise signed
    assert "secret" not in str(told.value)
