"""All checks, the server they run against, and the table of what became of them."""

from __future__ import annotations

import contextlib
import importlib.util
import re
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np

from headrace.values import DType
from tests.conformance import kserve_, tfserving, triton
from tests.conformance.check import Check, World
from tests.contract import models
from tests.e2e.server import Server

PAGE = Path(__file__).parents[2] / "docs" / "conformance.md"
_BLOCK = re.compile(r"<!-- conformance -->\n(.*?)<!-- end -->", re.DOTALL)
_NEEDS = {
    "kserve": "kserve",
    "PredictionService": "tensorflow_serving",
    "ModelService": "tensorflow_serving",
}

_NONE = "-"  # the client has no such method

Verdicts = Mapping[tuple[str, str], str]
"""(client, method) → verdict."""


def checks() -> list[Check]:
    """Every check."""
    return [*triton.checks(), *kserve_.checks(), *tfserving.checks()]


def can_run(check: Check) -> bool:
    """Whether the client is installed."""
    needs = next((v for k, v in _NEEDS.items() if check.client.startswith(k)), None)
    return needs is None or importlib.util.find_spec(needs) is not None


@contextlib.contextmanager
def world(root: Path) -> Iterator[World]:
    """A server of real little models: what goes in comes out, times the version."""
    for version in (1, 3):
        weights = np.eye(4, dtype=np.float32) * version
        models.product(root / f"linear/{version}/model.onnx", weights)
    models.product(root / "spare/1/model.onnx", np.eye(4, dtype=np.float32))
    models.product(root / "pets/1/model.onnx", np.eye(3, dtype=np.float32), ("N", 3))
    (root / "pets/card.yaml").write_text("labels: [cat, dog, fish]\n")
    models.product(root / "price/1/model.onnx", np.eye(1, dtype=np.float32), ("N", 1))
    text: models.Ports = {"text_input": (DType.BYTES, ["N", 1])}
    node = models.node("Identity", ["text_input"], ["text_output"])
    models.write(root / "echo/1/model.onnx", [node], text, {"text_output": (DType.BYTES, ["N", 1])})
    (root / "linear/card.yaml").write_text("{}\n")
    arguments = ("--model-control", "explicit", "--default-model", "linear")
    settings = root.parent / "headrace.yaml"
    settings.write_text(
        "server:\n  shared_memory: true\n"
        "models:\n"
        + "".join(f"  - path: {path}\n" for path in sorted(root.iterdir()) if path.name != "linear")
        + f"  - path: {root}/linear\n    version_labels: {{canary: 1}}\n"
    )
    with Server("--config", settings, *arguments) as server:
        yield World(server, root)


def written() -> Verdicts:
    """The verdicts that the page shows."""
    found: dict[tuple[str, str], str] = {}
    clients: list[str] = []
    for line in _block().splitlines():
        cells = [cell.strip().strip("`") for cell in line.strip("| ").split("|")]
        if cells[0] == "method":
            clients = cells[1:]
        elif not line.startswith("|--") and line.startswith("|"):
            found |= {
                (client, cells[0]): verdict
                for client, verdict in zip(clients, cells[1:], strict=True)
                if verdict != _NONE
            }
    return found


def write(verdicts: Verdicts) -> None:
    """Write the table into the page."""
    page = PAGE.read_text(encoding="utf-8")
    block = f"<!-- conformance -->\n{render(verdicts)}<!-- end -->"
    PAGE.write_text(_BLOCK.sub(lambda _: block, page), encoding="utf-8")


def render(verdicts: Verdicts) -> str:
    """The verdicts as Markdown: a table for each family of clients, a column a client."""
    families: dict[str, list[str]] = {}
    for client, _ in verdicts:
        family = families.setdefault(re.split(r"[. ]", client)[0], [])
        if client not in family:
            family.append(client)
    return "\n".join(_table(clients, verdicts) for clients in families.values())


def _table(clients: list[str], verdicts: Verdicts) -> str:
    methods = dict.fromkeys(method for client, method in verdicts if client in clients)
    lines = [
        f"| method | {' | '.join(f'`{client}`' for client in clients)} |",
        "|---|" + "---|" * len(clients),
    ]
    for method in methods:
        cells = [verdicts.get((client, method), _NONE) for client in clients]
        lines.append(f"| `{method}` | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def _block() -> str:
    match = _BLOCK.search(PAGE.read_text(encoding="utf-8"))
    if match is None:
        raise ValueError(f"{PAGE} has no conformance block")
    return match[1]
