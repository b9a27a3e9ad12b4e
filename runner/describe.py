"""Plans, configurations and runs as text for people."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import yaml

from runner import collect, history
from runner.compare import Difference
from runner.cost import plan_rows
from runner.snapshot import MAX_BYTES, MAX_FILES, Snapshot, megabytes
from runner.spec import Config, Plan, Run

MAX_LEFT_OUT = 12
PLACE_COLUMN = 48


def annotated_yaml(config: Config) -> str:
    """The composed YAML; every line ends in a comment with the place that set its value."""
    lines = list(yaml_lines(config, config.values, (), 0))
    width = min(max((len(text) for text, _ in lines), default=0), PLACE_COLUMN)
    return "\n".join(f"{text:<{width}}  # {one_line(place)}" if place else text for text, place in lines)


def yaml_lines(config: Config, node: Any, path: tuple[str, ...], depth: int) -> Iterator[tuple[str, str]]:
    items: Any = node.items() if isinstance(node, Mapping) else ((None, item) for item in node)
    for index, (key, value) in enumerate(items):
        below = (*path, str(index) if key is None else str(key))
        head = "  " * depth + ("-" if key is None else f"{scalar(key)}:")
        if isinstance(value, (Mapping, list)) and value:
            yield head, ""
            yield from yaml_lines(config, value, below, depth + 1)
        else:
            yield f"{head} {scalar(value)}", str(config.origin(*below).value)


def scalar(value: Any) -> str:
    """One value as YAML on one line."""
    style = '"' if isinstance(value, str) and not value.isprintable() else None
    text: str = yaml.safe_dump(value, default_flow_style=True, default_style=style, allow_unicode=True, width=1 << 62)
    text = text.removesuffix("\n").removesuffix("...").rstrip("\n")
    return json.dumps(value) if len(text.splitlines()) > 1 else text  # texts in a list may have lines


def one_line(text: str) -> str:
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)


def plan_text(plan: Plan) -> str:
    """One plan, a fact a line."""
    layout = plan.layout
    ranks = f"{layout.nodes} node{'s' * (layout.nodes != 1)} x {layout.processes_per_node} processes"
    backend = f", backend {layout.backend}" if layout.backend else ""
    rows = [
        ("run", plan.id),
        ("target", plan.target + compute_name(plan)),
        (
            "processes",
            f"{ranks}, distribution {layout.kind}{backend}",
        ),
        *(("auto", f"{key}: {value}") for key, value in plan.resolved.items() if key != "env"),
        ("environment", plan.resolved.get("env", "")),
        ("command", command_text(plan)),
        ("overrides", " ".join(shlex.quote(item) for item in plan.overrides) or "none"),
        *(("pinned here", item) for item in plan.frozen),
        ("git", git_text(plan)),
        ("digests", "  ".join(f"{name} {value[:12]}" for name, value in plan.digests.items())),
        *(("not checked", item) for item in plan.not_checked),
        *(("not asked", item) for item in plan.not_asked),
        *plan_rows(plan),
    ]
    return table(rows)


def compute_name(plan: Plan) -> str:
    compute = plan.config.get("compute", {})
    if plan.target == "local":
        return ""
    return f", cluster {compute.get('name')} ({compute.get('vm_size') or 'size not said'}, {compute.get('priority')})"


def command_text(plan: Plan) -> str:
    if plan.shell:
        return plan.shell
    words = plan.command or ("python", str(plan.script), *plan.arguments)
    return shlex.join(word if len(word) <= 60 else f"{word[:40]}...({len(word)} characters)" for word in words)


def git_text(plan: Plan) -> str:
    git = plan.git
    if git.commit is None:
        return "no commit: this run cannot be traced to code in git"
    dirty = f", {len(git.dirty)} files not committed" if git.dirty else ", clean"
    return f"{git.commit[:12]} on {git.branch or 'no branch'}{dirty}"


def snapshot_text(snapshot: Snapshot) -> str:
    """What travels and what stays, with the rule that says so."""
    count, size = f"{len(snapshot.files)} files of at most {MAX_FILES}", megabytes(snapshot.ref.bytes)
    rows = [("code", f"{count}, {size} of at most {megabytes(MAX_BYTES)}, digest {snapshot.digest[:12]}")]
    rows += [("biggest", f"{file.path} {megabytes(file.bytes)}") for file in snapshot.biggest()]
    stays = snapshot.left_out
    rows += [("left out", f"{item.path}  ({item.rule}, {item.source})") for item in stays[:MAX_LEFT_OUT]]
    if len(stays) > MAX_LEFT_OUT:
        rows.append(("", f"and {len(stays) - MAX_LEFT_OUT} more (--json lists all)"))
    rows += [("refused", f"{item.place}: looks like {item.kind}") for item in snapshot.secrets]
    return table(rows)


def run_text(record: Mapping[str, Any]) -> str:
    """`show` for people, from `collect.summary`."""
    rows = [("run", record["id"]), ("url", record["url"]), ("page", record["page"]), ("state", record["state"])]
    rows += [("created", local_time(record["created"])), ("took", duration(record["created"], record["ended"]))]
    rows += [("metric", f"{name} {value}") for name, value in collect.headline(record["metrics"])]
    rows.append(("overrides", " ".join(shlex.quote(item) for item in record["overrides"]) or "none"))
    git = record["git"]
    rows.append(("git", f"{git['commit'] or 'none'} {git['branch'] or ''} ({len(git['dirty'])} files not committed)"))
    rows += [("digest", f"{name} {value}") for name, value in record["digest"].items()]
    rows += [("log", path) for path in record["logs"]]
    rows += [("outputs", record["outputs"]), ("note", record["note"])]
    if record["failure"]:
        rows.append(("failure", record["failure"]["cause"]))
    return table([(name, value) for name, value in rows if value])


def failure_text(run: Run, plan: Plan) -> str:
    """Why a run failed: the first rank to fail, what it said, what to do, where the log is.

    Places in the run's copy of the code are shown as places in the project, where they can be opened and mended.
    """
    failure = run.failure
    if failure is None:
        return f"{run.id} {run.state.value}"
    place = history.files(Path(plan.project), run.id)
    code_root = Path(plan.project, str(plan.config["code"].get("root") or "."))
    evidence = failure.evidence.replace(f"{place.work}/", f"{code_root}/")
    who = f"rank {failure.rank} of {plan.layout.world_size}: " if failure.rank is not None else ""
    said = failure.exit_code is None or f"exit code {failure.exit_code}" in failure.cause
    code = "" if said else f" (exit code {failure.exit_code})"
    parts = [f"{run.id} {run.state.value}: {who}{failure.cause}{code}"]
    if evidence:
        parts.append("\n".join(f"    {line}" for line in evidence.rstrip().splitlines()))
    if failure.advice:
        parts.append(f"what to do: {failure.advice}")
    if failure.log:
        parts.append(f"log: {place.root / failure.log}")
    return "\n".join(parts)


def result_text(run: Run, metrics: Mapping[str, Any], outputs: Path) -> str:
    """The last lines of a run that went well."""
    took = duration(run.created, run.ended)
    rows = [(name, value) for name, value in collect.headline(metrics)]
    rows += [("outputs", str(outputs)), ("page", run.page), ("note", run.note)]
    return f"{run.id} {run.state.value} in {took}\n" + table([row for row in rows if row[1]])


def runs_table(rows: Sequence[Mapping[str, Any]]) -> str:
    """`list` for people."""
    header = ("RUN", "STATE", "CREATED", "TOOK", "METRICS")
    lines = [header]
    for row in rows:
        best = "  ".join(f"{name} {value}" for name, value in collect.headline(row["metrics"])[:2])
        took = duration(row["created"], row["ended"])
        lines.append((row["id"], row["state"], local_time(row["created"]), took, best))
    widths = [max(len(line[column]) for line in lines) for column in range(len(header))]
    return "\n".join(
        "  ".join(f"{cell:<{width}}" for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines
    )


def differences_text(old: str, new: str, found: Sequence[Difference], code: Sequence[str]) -> str:
    """`diff` for people: a value a line, then the diff of the code."""
    if not found and not code:
        return f"{old} and {new} are the same plan"
    rows = [(item.path.removeprefix("config."), f"{scalar(item.old)} -> {scalar(item.new)}") for item in found]
    text = f"{old} -> {new}\n{table(rows)}"
    return text + ("\n\ncode\n" + "\n".join(code) if code else "")


def table(rows: Sequence[tuple[str, str]]) -> str:
    """Two columns; a name that repeats the one above is left blank."""
    width = max((len(name) for name, _ in rows), default=0)
    names = [name for name, _ in rows]
    shown = ["" if index and name == names[index - 1] else name for index, name in enumerate(names)]
    return "\n".join(f"{name:<{width}}  {value}" for name, (_, value) in zip(shown, rows, strict=True))


def local_time(iso: str) -> str:
    return datetime.fromisoformat(iso).astimezone().strftime("%Y-%m-%d %H:%M:%S")


def duration(start: str, end: str | None) -> str:
    until = datetime.fromisoformat(end) if end else datetime.now(timezone.utc)
    seconds = max(int((until - datetime.fromisoformat(start)).total_seconds()), 0)
    minutes, seconds = divmod(seconds, 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02} min" if hours else f"{minutes} min {seconds:02} s" if minutes else f"{seconds} s"
