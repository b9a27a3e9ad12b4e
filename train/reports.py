"""What an evaluation says of each class, as tables and as pictures."""

from __future__ import annotations

import csv
import warnings
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from train.evaluate import Evaluation

# Pictures stay legible: up to so many classes each is named, and each cell of the matrix holds its number.
NAMED, NUMBERED = 60, 25
LONGEST_NAME = 24
COLUMNS = ("class", "precision", "recall", "f1", "support")


@dataclass(frozen=True, slots=True)
class Row:
    """One class. A share of nothing (a class that was never answered, or has no test image) is None."""

    name: str
    precision: float | None
    recall: float | None
    f1: float | None
    support: int


def write(folder: Path, evaluation: Evaluation, classes: Sequence[str]) -> None:
    """confusion.csv, classes.csv, confusion.png and classes.png in `folder`.

    Without matplotlib: the CSV files, and one line that says so.
    """
    folder.mkdir(parents=True, exist_ok=True)
    matrix: list[list[int]] = evaluation.confusion.tolist()
    rows = per_class(matrix, classes)
    _write_csv(folder / "confusion.csv", ["true \\ answer", *classes], zip(classes, matrix, strict=True))
    listed = [*rows, *totals(rows, evaluation)]
    _write_csv(folder / "classes.csv", COLUMNS, ((row.name, _cells(row)) for row in listed))
    try:
        from matplotlib.figure import Figure  # without pyplot: no state, no display
    except ModuleNotFoundError:
        print("reports: no pictures without matplotlib; pip install 'amlrun[plots]'", flush=True)
        return
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing from")  # it draws a box for what no font has
        _draw_confusion(Figure(layout="constrained"), matrix, classes).savefig(folder / "confusion.png")
        _draw_classes(Figure(layout="constrained"), rows).savefig(folder / "classes.png")


def per_class(matrix: Sequence[Sequence[int]], classes: Sequence[str]) -> list[Row]:
    """Precision, recall and F1 of each class, from counts with one row per true class."""
    answered = [sum(column) for column in zip(*matrix, strict=True)]
    rows = []
    for at, name in enumerate(classes):
        right, support = matrix[at][at], sum(matrix[at])
        f1 = _share(2 * right, answered[at] + support)
        rows.append(Row(name, _share(right, answered[at]), _share(right, support), f1, support))
    return rows


def totals(rows: Sequence[Row], evaluation: Evaluation) -> list[Row]:
    """Accuracy, then the mean over classes: plain, and weighted by test images (a missing share counts as 0)."""
    shares = [[value or 0.0 for value in (row.precision, row.recall, row.f1)] for row in rows]
    weights = [row.support for row in rows]
    plain = [sum(column) / len(rows) for column in zip(*shares, strict=True)]
    weighted = [
        sum(value * weight for value, weight in zip(column, weights, strict=True)) / evaluation.count
        for column in zip(*shares, strict=True)
    ]
    accuracy = evaluation.accuracy
    return [
        Row("(accuracy)", accuracy, accuracy, accuracy, evaluation.count),
        Row("(mean of classes)", plain[0], plain[1], plain[2], evaluation.count),
        Row("(mean of images)", weighted[0], weighted[1], weighted[2], evaluation.count),
    ]


def _share(part: int, whole: int) -> float | None:
    return part / whole if whole else None


def _cells(row: Row) -> list[str]:
    shares = (row.precision, row.recall, row.f1)
    return [*("" if value is None else f"{value:.6f}" for value in shares), str(row.support)]


def _write_csv(path: Path, header: Sequence[str], rows: Iterable[tuple[str, Sequence[Any]]]) -> None:
    with path.open("w", newline="", encoding="utf-8", errors="surrogateescape") as file:
        writer = csv.writer(file)
        writer.writerow(header)
        writer.writerows([name, *cells] for name, cells in rows)


def _draw_confusion(figure: Any, matrix: Sequence[Sequence[int]], classes: Sequence[str]) -> Any:
    """Colour is the share of the true class, so that rare classes are seen as well as common ones."""
    count = len(classes)
    size = max(4.0, min(0.4 * count, 14.0))
    figure.set_size_inches(size + 2, size + 1)
    figure.set_dpi(120)
    axes = figure.subplots()
    supports = [max(1, sum(line)) for line in matrix]
    shares = [[cell / support for cell in line] for line, support in zip(matrix, supports, strict=True)]
    image = axes.imshow(shares, cmap="Blues", vmin=0, vmax=1, interpolation="nearest")
    figure.colorbar(image, ax=axes, label="share of the true class", shrink=0.8)
    axes.set(xlabel="answer", ylabel="true class")
    if count <= NAMED:
        names = [_short(name) for name in classes]
        axes.set_xticks(range(count), names, rotation=90 if count > 12 or max(map(len, names)) > 4 else 0)
        axes.set_yticks(range(count), names)
    if count <= NUMBERED:
        for y, line in enumerate(matrix):
            for x, number in enumerate(line):
                if number:
                    dark = shares[y][x] > 0.5
                    axes.text(x, y, number, ha="center", va="center", fontsize=8, color="white" if dark else "black")
    return figure


def _draw_classes(figure: Any, rows: Sequence[Row]) -> Any:
    """Worst class first, so that with a thousand of them the eye finds what fails; named where there is room."""
    order = sorted(rows, key=lambda row: (row.f1 or 0.0, row.name), reverse=True)
    count = len(order)
    named = count <= NAMED
    figure.set_size_inches(8, max(2.5, 1.5 + (0.25 * count if named else 12)))
    figure.set_dpi(120)
    axes = figure.subplots()
    places = range(count)
    bars = [row.f1 or 0.0 for row in order]
    axes.hlines(places, 0, bars, color="#9ecae1", label="f1", linewidth=12 if named else 1)
    marks = 6 if named else 2
    axes.plot([row.precision or 0.0 for row in order], places, "o", ms=marks, color="#08519c", label="precision")
    axes.plot([row.recall or 0.0 for row in order], places, "|", ms=marks + 4, color="#e6550d", label="recall")
    axes.set(xlim=(0, 1.02), ylim=(-0.6, count - 0.4), xlabel="worst class at the top")
    if named:
        axes.set_yticks(places, [f"{_short(row.name)} ({row.support})" for row in order])
    else:
        axes.set_yticks([])
        axes.set_ylabel(f"{count} classes, by f1; their names are in classes.csv")
    figure.legend(loc="outside upper center", ncols=3)
    return figure


def _short(name: str) -> str:
    """Text between two '$' would be a formula, and a folder's name need not be Unicode."""
    short = name if len(name) <= LONGEST_NAME else name[: LONGEST_NAME - 1] + "…"
    return short.encode(errors="replace").decode().replace("$", r"\$")
