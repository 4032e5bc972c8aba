"""Run every check and print the table: ``python -m tests.conformance [--write]``."""

from __future__ import annotations

import argparse
import asyncio
import tempfile
from pathlib import Path

from rich.console import Console
from rich.table import Table
from rich.text import Text

from tests.conformance.check import Check, World
from tests.conformance.table import can_run, checks, world, write


def main() -> int:
    """Run the checks that can run; 0 when each of them ended as it should."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--write", action="store_true", help="write it into docs/conformance.md")
    chosen = options.parse_args()
    console = Console()
    with tempfile.TemporaryDirectory() as folder, world(Path(folder) / "models") as live:
        verdicts = {
            (check.client, check.method): _verdict(check, live)
            for check in checks()
            if can_run(check)
        }
    table = Table("client", "method", "verdict")
    for (client, method), verdict in verdicts.items():
        table.add_row(Text(client), Text(method), Text(verdict))
    console.print(table)
    failed = [key for key, verdict in verdicts.items() if verdict.startswith("FAILED")]
    console.print(f"{len(verdicts) - len(failed)} of {len(verdicts)} as they should be")
    if chosen.write and not failed:
        write(verdicts)
    return 1 if failed else 0


def _verdict(check: Check, live: World) -> str:
    try:
        asyncio.run(asyncio.wait_for(check.run(live), 60))
    except Exception as error:  # noqa: BLE001 - whatever a client raises is its verdict
        return f"FAILED: {type(error).__name__}: {str(error)[:300]}"
    return check.verdict


if __name__ == "__main__":
    raise SystemExit(main())
