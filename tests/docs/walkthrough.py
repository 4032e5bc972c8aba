"""Does what a page tells its reader to do, block by block, and checks what it says will come.

A ``python`` block is run; a ``text`` block after it is what it prints. A ``yaml`` block that begins
with ``# name.yaml`` is written to that file. Of a ``shell`` block, ``headrace serve`` becomes a
running server, ``curl`` asks it, and a ``json`` block after it is the last answer; files are made
and copied; what sets a machine up (``pip``, ``make``) is left out.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import re
import shlex
import subprocess
import sys
from itertools import zip_longest
from typing import Any

from tests.docs.markdown import Fence, Page, commands
from tests.e2e.clients import http
from tests.e2e.server import Server

_PORT = "localhost:8000"
_FILE = re.compile(r"# (\S+\.yaml)\n")
_SET_UP = frozenset({"pip", "make", "cd", "python"})
_FILES = frozenset({"mkdir", "cp", "mv"})


class Walk(contextlib.ExitStack):
    """One reader, in the working directory."""

    def __init__(self) -> None:
        super().__init__()
        self._server: Server | None = None
        self._names: dict[str, Any] = {}
        self.said: list[str] = []

    def follow(self, page: Page) -> None:
        """Do everything on a page, in order."""
        fences = page.fences()
        for fence, after in zip_longest(fences, fences[1:]):
            self._do(fence, after)

    def serve(self, *arguments: str) -> None:
        """Start a server in the place of the one before."""
        self.close()
        self._server = self.enter_context(Server(*arguments))

    def run(self, text: str) -> None:
        """Run Python."""
        out = io.StringIO()
        code = compile(self._here(text), "<block>", "exec")
        with contextlib.redirect_stdout(out):
            exec(code, self._names)  # noqa: S102 - our own documentation
        self.said.append(out.getvalue())

    def _do(self, fence: Fence, after: Fence | None) -> None:
        if fence.language == "python":
            self.run(fence.text)
        elif fence.language == "shell":
            self.said += [self._shell(command) for command in commands(fence)]
        elif fence.language == "yaml" and (file := _FILE.match(fence.text)):
            self._write(file[1], fence.text)
        if after is not None and after.language == "text":
            assert self.said[-1].strip() == after.text.strip(), fence.text
        if after is not None and after.language == "json":
            assert _plain(json.loads(self.said[-1])) == _plain(json.loads(after.text)), fence.text

    def _shell(self, command: str) -> str:
        program, *arguments = shlex.split(command)
        if program in _SET_UP:
            return ""
        if (program, *arguments[:1]) == ("headrace", "serve"):
            self.serve(*arguments[1:])
            return ""
        if program == "headrace":
            return _run([sys.executable, "-m", "headrace", *arguments])
        if program == "curl":
            return _curl(shlex.split(self._here(command))[1:])
        if program in _FILES:
            return _run([program, *arguments])
        raise AssertionError(f"nobody knows how to follow: {command}")

    def _write(self, name: str, text: str) -> None:
        with open(name, "w", encoding="utf-8") as file:  # noqa: PTH123 - the working directory
            file.write(text)

    def _here(self, text: str) -> str:
        return text if self._server is None else text.replace(_PORT, self._server.address)


def _run(arguments: list[str]) -> str:
    done = subprocess.run(arguments, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, f"{shlex.join(arguments)}: {done.stdout}{done.stderr}"
    return done.stdout


def _curl(arguments: list[str]) -> str:
    """Ask as ``curl`` would, which not every machine has; only what the pages use of it."""
    parser = argparse.ArgumentParser()
    parser.add_argument("url")
    parser.add_argument("-d", dest="body")
    parser.add_argument("-H", dest="headers", action="append", default=[])
    parser.add_argument("-s", action="store_true")
    asked = parser.parse_args(arguments)
    headers = dict(header.split(": ", 1) for header in asked.headers)
    body = None if asked.body is None else asked.body.encode()
    _, answer, _ = http(f"http://{asked.url}", body, headers)
    return json.dumps(answer)


def _plain(value: Any) -> Any:
    """Numbers rounded, so that another processor's last digit makes no difference."""
    if isinstance(value, float):
        return round(value, 4)
    if isinstance(value, list):
        return [_plain(element) for element in value]
    if isinstance(value, dict):
        return {key: _plain(element) for key, element in value.items()}
    return value
