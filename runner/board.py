"""How a sweep looks while it is watched: a table on a terminal, a line for each change elsewhere."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Protocol, TextIO

from runner.spec import State
from runner.standing import Point, Standing, shown

STYLES = {State.RUNNING: "cyan", State.COMPLETED: "green", State.FAILED: "red", State.CANCELED: "yellow"}
HEADER = ("POINT", "STATE", "EPOCH", "", "BEST", "LEFT", "COST")
# Lines of a terminal that are not for points: title, header, borders, what is left out, the totals.
REST_OF_TABLE = 8
FEW = 20


class Board(Protocol):
    """What is told how a sweep stands, again and again."""

    def show(self, found: Standing) -> None:
        """How it stands now."""

    def close(self) -> None:
        """Nothing more comes."""


def board(*, quiet: bool, stream: TextIO | None = None) -> Board:
    stream = stream or sys.stdout
    if quiet:
        return Nothing()
    return Table(stream) if stream.isatty() else Lines(stream)


class Nothing:
    """Shows nothing."""

    def show(self, found: Standing) -> None:
        pass

    def close(self) -> None:
        pass


class Lines:
    """A line for each state that a point enters, with the metric or the cause where it ends."""

    def __init__(self, stream: TextIO) -> None:
        self.stream = stream
        self.seen: dict[str, int] = {}

    def show(self, found: Standing) -> None:
        news = []
        first = not self.seen  # of what had ended before, only its end is told
        for each in found.points:
            known = -1 if first and each.run.state.final else self.seen.get(each.run.id, 0)
            for state, time in each.run.phases[known:]:
                if state != State.PLANNED.value:
                    end = ending(each, found) if is_end(state) else ""
                    news.append((datetime.fromisoformat(time), f"[{clock(time)}] {label(each)}  {state}{end}"))
            self.seen[each.run.id] = len(each.run.phases)
        for _, text in sorted(news, key=lambda item: item[0]):
            self.write(text)

    def close(self) -> None:
        self.stream.flush()

    def write(self, text: str) -> None:
        self.stream.write(text + "\n")
        self.stream.flush()


class Table:
    """One table that is drawn anew; of many points those that matter most now."""

    def __init__(self, stream: TextIO) -> None:
        from rich.console import Console
        from rich.live import Live

        self.console = Console(file=stream)
        self.live = Live(console=self.console, auto_refresh=False, transient=False)
        self.live.start()

    def show(self, found: Standing) -> None:
        self.live.update(drawn(found, max(3, self.console.height - REST_OF_TABLE)), refresh=True)

    def close(self) -> None:
        self.live.stop()


def drawn(found: Standing, most: int) -> Any:
    """The standing as a table of rich, and the totals below it."""
    from rich.console import Group
    from rich.table import Table as RichTable
    from rich.text import Text

    table = RichTable(title=Text(found.sweep.id))
    for name in (*HEADER[:3], found.metric.replace("_", " ") or "METRIC", *HEADER[4:]):
        table.add_column(Text(name), no_wrap=name != HEADER[0], justify="left" if name in HEADER[:2] else "right")
    points = shown(found, most)
    for each in points:
        style = "bold green" if each is found.best else STYLES.get(each.run.state, "")
        table.add_row(*map(Text, cells(each, found)), style=style)
    if len(points) < len(found.points):
        table.add_row(Text(f"and {len(found.points) - len(points)} more"), *[""] * (len(HEADER) - 1), style="dim")
    return Group(table, Text(totals(found)))


def cells(each: Point, found: Standing) -> Sequence[str]:
    epochs = f"/{each.epochs:g}" if each.epochs is not None else ""
    return (
        label(each),
        each.run.state.value,
        f"{each.epoch:g}{epochs}" if each.epoch is not None else "",
        number(each.value),
        number(each.best) + (" *" if each is found.best else ""),
        duration(each.left),
        dollars(each.cost),
    )


def text(found: Standing, most: int = FEW) -> str:
    """`show` of a sweep for people: totals, points, and why what failed did."""
    rows: list[Sequence[str]] = [(*HEADER[:3], found.metric.replace("_", " ").upper() or "METRIC", *HEADER[4:])]
    points = shown(found, most)
    rows += [cells(each, found) for each in points]
    widths = [max(len(row[column]) for row in rows) for column in range(len(HEADER))]
    lines = ["  ".join(f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    more = len(found.points) - len(points)
    lines += [f"and {more} more; --json has all"] if more else []
    failed = [each for each in found.points if each.run.failure is not None]
    lines += [f"{each.run.id}  {label(each)}: {each.run.failure.cause}" for each in failed[:most] if each.run.failure]
    return "\n".join([found.sweep.id, totals(found), "", *lines])


def totals(found: Standing) -> str:
    """All points in one line."""
    parts = [f"{len(found.points)} points: " + ", ".join(f"{count} {state}" for state, count in found.counts.items())]
    if found.best is not None:
        parts.append(f"best {found.metric.replace('_', ' ')} {number(found.best.best)} ({label(found.best)})")
    parts += [f"{duration(found.left)} left"] if found.left is not None else []
    parts += [f"{dollars(found.cost)} so far"] if found.cost is not None else []
    return "; ".join(parts)


def label(each: Point) -> str:
    """What sets the point apart: the last word of each key where that is enough."""
    return " ".join(f"{name}={value}" for name, value in short(each.values).items()) or each.run.id


def short(values: Mapping[str, str]) -> dict[str, str]:
    last = [key.rpartition(".")[2] for key in values]
    return {
        name if last.count(name) == 1 else key: value
        for name, (key, value) in zip(last, values.items(), strict=True)
    }  # fmt: skip


def ending(each: Point, found: Standing) -> str:
    if each.run.failure is not None:
        return f": {each.run.failure.cause}"
    best = " (best so far)" if each is found.best else ""
    return f": {found.metric.replace('_', ' ')} {number(each.best)}{best}" if each.best is not None else ""


def is_end(state: str) -> bool:
    return State(state).final


def number(value: float | None) -> str:
    return "" if value is None else f"{value:.4g}"


def dollars(value: float | None) -> str:
    return "" if value is None else f"${value:.2f}"


def duration(seconds: float | None) -> str:
    if seconds is None:
        return ""
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02} min" if hours else f"{minutes} min {rest:02} s" if minutes else f"{rest} s"


def clock(time: str) -> str:
    return datetime.fromisoformat(time).astimezone().strftime("%H:%M:%S")
