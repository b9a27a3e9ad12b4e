"""Write docs/cli.md from the parser, docs/config.md from the schemas, the route table of docs/emulator.md.

`--check` compares instead (`make check`).
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from runner.cli import build_parser

HERE = Path(__file__).resolve().parent
SCHEMAS = HERE.parent / "schemas"
GROUPS = (
    "compute",
    "env",
    "distribution",
    "workspace",
    "data",
    "model",
    "optimizer",
    "schedule",
    "trainer",
    "tracking",
    "sweep",
)
NOTE = "<!-- Written by `make docs`; do not edit. -->\n"


def cli_page() -> str:
    """The help of every verb."""
    os.environ["COLUMNS"] = "100"
    parser, verbs = build_parser()
    parts = [NOTE, "# The command line\n", block(parser.format_help())]
    for name, verb in verbs.items():
        parts += [f"## amlrun {name}\n", block(verb.format_help())]
    return "\n".join(parts)


def config_page() -> str:
    """Every key of every group, from the schemas' descriptions."""
    job = load("job")
    parts = [NOTE, "# Every key\n", "`amlrun config` shows a composed configuration and what set each value.\n"]
    parts += ["## Top level\n", table(job, skip=GROUPS)]
    for group in GROUPS:
        schema = load(group)
        parts += [f"## {group}\n", f"{schema.get('description', '')}\n", table(schema)]
    return "\n".join(parts)


def emulator_page() -> str:
    """docs/emulator.md with the route table of today between its marks."""
    from runner.emulator.routes import coverage

    start, end = "<!-- routes: written by `make docs`; do not edit -->\n", "<!-- end of routes -->\n"
    text = (HERE / "emulator.md").read_text()
    before, _, rest = text.partition(start)
    return f"{before}{start}\n{coverage()}\n{end}{rest.partition(end)[2]}"


def table(schema: Mapping[str, Any], skip: tuple[str, ...] = ()) -> str:
    lines = ["| key | values | meaning |", "|---|---|---|"]
    lines += [
        f"| `{path}` | {values(item)} | {item.get('description', '').replace('|', '/')} |"
        for path, item in properties(schema)
        if path.split(".")[0] not in skip
    ]
    return "\n".join(lines) + "\n"


def properties(schema: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Every key with its schema. A group's keys are in `$defs/partial`, of which its top level is a stricter form."""
    keys = {**schema.get("$defs", {}).get("partial", {}).get("properties", {})}
    keys |= {name: item for name, item in schema.get("properties", {}).items() if "description" in item}
    for name, item in keys.items():
        yield f"{prefix}{name}", item
        yield from properties(item, f"{prefix}{name}.")


def values(item: Mapping[str, Any]) -> str:
    if "enum" in item:
        return " ".join(f"`{json.dumps(value)}`" for value in item["enum"])
    if "const" in item:
        return f"`{json.dumps(item['const'])}`"
    kinds = item.get("type", [])
    words = [kinds] if isinstance(kinds, str) else list(kinds)
    words += [str(kind["type"]) for kind in (*item.get("anyOf", ()), *item.get("oneOf", ())) if "type" in kind]
    bounds = [f"{sign} {item[key]}" for key, sign in (("minimum", ">="), ("maximum", "<=")) if key in item]
    return ", ".join([*words, *bounds])


def load(name: str) -> dict[str, Any]:
    done: dict[str, Any] = json.loads((SCHEMAS / f"{name}.schema.json").read_text())
    return done


def block(text: str) -> str:
    return f"```text\n{text.rstrip()}\n```\n"


def main(argv: list[str]) -> int:
    pages = {"cli.md": cli_page(), "config.md": config_page(), "emulator.md": emulator_page()}
    stale = [name for name, text in pages.items() if not same(HERE / name, text)]
    if "--check" not in argv:
        for name in stale:
            (HERE / name).write_text(pages[name])
    elif stale:
        print(f"docs/{', docs/'.join(stale)}: not what the code says; run 'make docs'", file=sys.stderr)
        return 1
    return 0


def same(path: Path, text: str) -> bool:
    return path.is_file() and path.read_text() == text


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
