"""`make bench`: every benchmark on this machine, one table, results.json. Exits non-zero if one could not run.

python -m tests.benchmarks [B6 B7 ...]      only these
"""

from __future__ import annotations

import json
import platform
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict
from importlib import import_module
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from tests.benchmarks.measuring import CannotMeasure, Result

MODULES = tuple(f"tests.benchmarks.{name}" for name in ("planning", "running", "sending", "snapshots", "training"))
RESULTS = Path(__file__).with_name("results.json")


def benchmarks() -> dict[str, Callable[[], Iterator[Result]]]:
    found: dict[str, Callable[[], Iterator[Result]]] = {}
    for name in MODULES:
        found |= import_module(name).BENCHMARKS
    return dict(sorted(found.items(), key=lambda item: int(item[0][1:])))


def measured(names: list[str]) -> tuple[list[Result], dict[str, str]]:
    """Results in order, and why what could not run could not."""
    results, failed = [], {}
    for name, run in benchmarks().items():
        if names and name not in names:
            continue
        began = time.monotonic()
        try:
            results += run()
        except CannotMeasure as error:
            failed[name] = str(error)
        print(f"{name}: {time.monotonic() - began:.0f} s", file=sys.stderr, flush=True)
    return results, failed


def show(results: list[Result], failed: dict[str, str]) -> None:
    table = Table(
        "id", "work", "against", "ours", "theirs", "ratio", "bar", "met", title="amlrun, measured side by side"
    )
    for each in results:
        figures = [f"{value:.4g} {each.unit}" for value in (each.ours, each.theirs)]
        table.add_row(
            each.id, each.work, each.against, *figures, f"{each.ratio:.3g}x", each.bar, "yes" if each.met else "NO"
        )
    for name, why in failed.items():
        table.add_row(name, f"could not run: {why}", "", "", "", "", "", "")
    Console(width=200 if not sys.stdout.isatty() else None).print(table)


def keep(results: list[Result], failed: dict[str, str]) -> None:
    machine: dict[str, Any] = {"python": platform.python_version(), "machine": platform.machine()}
    content = {"machine": machine, "results": [asdict(each) for each in results], "failed": failed}
    RESULTS.write_text(json.dumps(content, indent=1) + "\n")


def main() -> int:
    wanted = [word.upper() for word in sys.argv[1:]]
    unknown = [word for word in wanted if word not in benchmarks()]
    if unknown:
        print(f"no benchmark {', '.join(unknown)}; there are {', '.join(benchmarks())}", file=sys.stderr)
        return 2
    results, failed = measured(wanted)
    show(results, failed)
    if not wanted:
        keep(results, failed)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
