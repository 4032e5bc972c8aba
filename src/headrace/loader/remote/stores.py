"""Where the files of a URL are listed and read: one class a kind of store, and one border.

The libraries are extras, imported on use. Credentials, endpoints and proxies come from where these
look for them (environment, ``~/.aws``, ``~/.netrc``). Every call may hang for as long as its
timeouts say, so all of it runs in threads.
"""

from __future__ import annotations

import contextlib
import importlib
import logging
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Protocol

from headrace.errors import BackendMissing, ModelLoadError, OperatorError
from headrace.loader.remote.listing import RemoteFile
from headrace.urls import EXTRAS, Url

CONNECT_S = 10.0
"""A store that takes longer to accept a connection is not there."""
READ_S = 30.0
"""One that sends nothing for so long has stalled."""

_TRIES = 2
# A large file of S3 comes in so many pieces at a time, held in memory: s3fs would take 500 MiB.
_PIECE_BYTES = 8 * 2**20
_PIECES = 4
# A web server may send on to a URL whose query is as good as a password.
_QUERY = re.compile(r"(https?://[^\s?'\"]+)\?[^\s'\"]*")
# They write the traceback of every error they raise.
_LOGGERS = ("gcsfs", "fsspec")
_MODULES = {"s3": "s3fs", "gs": "gcsfs.core", "http": "fsspec.implementations.http"}


class Store(Protocol):
    """One kind of place; its methods raise whatever its library does."""

    def files(self, url: Url) -> Iterator[RemoteFile]:
        """Every file at a place or below it; of a single file also those beside it."""

    def inside(self, folder: str, name: str) -> Iterator[RemoteFile]:
        """Every file right in a folder that the store calls so, with names that begin with one."""

    def below(self, folder: str, name: str) -> Iterator[RemoteFile]:
        """Those in its folders, too."""

    def whole(self, file: RemoteFile) -> RemoteFile:
        """The file with its size and edition, where the listing has left them out.

        Raises:
            FileNotFoundError: the store does not give it, though it may have listed it.
        """

    def fetch(self, file: RemoteFile, to: Path, on_bytes: Callable[[int], None]) -> None:
        """Read a file to disk; ``on_bytes`` hears how many have come since."""


def open_store(url: Url) -> Store:
    """Return what reads a URL.

    Raises:
        BackendMissing: its library is not installed.
    """
    kind = "http" if url.scheme == "https" else url.scheme
    module = _import(_MODULES[kind], url)
    from headrace.loader.remote import unhurried  # noqa: PLC0415 - fsspec is an extra
    from headrace.loader.remote.bucket import Bucket  # noqa: PLC0415 - the same
    from headrace.loader.remote.web import Page, Web  # noqa: PLC0415 - the same

    unhurried.let_go()
    _quieten()
    match kind:
        case "s3":
            return Bucket(module.S3FileSystem(**_fresh(), **_s3_options()), tries=_TRIES)
        case "gs":
            # Not the one for folders of buckets, which asks over gRPC what a bucket is.
            return Bucket(module.GCSFileSystem(**_fresh(), requests_timeout=_timeout()))
        case _:
            return Web(module.HTTPFileSystem(**_fresh(), **_http_options(Page)))


def _quieten() -> None:
    """What goes wrong is told by ``border``, once; a level that somebody has asked for stays."""
    for name in _LOGGERS:
        logger = logging.getLogger(name)
        if logger.level == logging.NOTSET:
            logger.setLevel(logging.CRITICAL)


def _fresh() -> dict[str, Any]:
    """Nothing of an earlier look, whose credentials or listings may be old, is used again."""
    return {"skip_instance_cache": True, "use_listings_cache": False}


def _s3_options() -> dict[str, Any]:
    retries = {"max_attempts": 1}
    timeouts = {"connect_timeout": CONNECT_S, "read_timeout": READ_S}
    pieces = {"default_block_size": _PIECE_BYTES, "max_concurrency": _PIECES}
    return {"config_kwargs": {**timeouts, "retries": retries}, **pieces}


def _http_options(answer: type[Any]) -> dict[str, Any]:
    # trust_env: proxies, and users and passwords from ~/.netrc.
    options = {"timeout": _timeout(), "trust_env": True, "response_class": answer}
    return {"client_kwargs": options, "simple_links": False, "encoded": True}


def _timeout() -> Any:
    """A large file takes as long as it takes, as long as some of it comes."""
    aiohttp = importlib.import_module("aiohttp")
    return aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_S, sock_read=READ_S)


def _import(name: str, url: Url) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError as error:
        extra = f"headrace[{EXTRAS[url.scheme]}]"
        raise BackendMissing(
            f"{url}: what reads {url.scheme}:// is not installed, or broken: "
            f"pip install '{extra}' ({error})"
        ) from error


@contextlib.contextmanager
def border(url: Url) -> Iterator[None]:
    """Tell what goes wrong with a store in our words: the libraries raise anything.

    Raises:
        OperatorError: names the URL and the cause.
    """
    try:
        yield
    except OperatorError:
        raise
    except Exception as error:
        raise ModelLoadError(f"{url}: {_words(error)}") from error


def _words(error: Exception) -> str:
    chain = list(_causes(error))
    root = chain[-1]
    said = _QUERY.sub(r"\1", " ".join(str(root).split())) or type(root).__name__
    if any(isinstance(one, PermissionError) for one in chain):
        return f"access is denied: {said}; check the credentials and what they allow"
    if any("Credentials" in type(one).__name__ for one in chain):
        return f"there are no credentials that can be used: {said}"
    if isinstance(error, FileNotFoundError) and root is error:
        return f"no such file, folder or bucket: {said}"
    if isinstance(root, TimeoutError):
        return f"the store does not answer ({type(root).__name__}: {said})"
    return f"cannot be read: {type(root).__name__}: {said}"


def _causes(error: BaseException) -> Iterator[BaseException]:
    """The error and what caused it; what was merely on the way is not a cause."""
    one: BaseException | None = error
    while one is not None:
        yield one
        one = one.__cause__
