"""The same charts as PNG files, for slides and papers; by matplotlib, which is imported when one is drawn."""

from __future__ import annotations

import json
import math
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from runner.collect import is_number
from runner.report import series
from runner.report.gather import Entry, Report

# Okabe and Ito's colours, which the colour-blind tell apart, without the yellow that white paper swallows.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#000000", "#7A7A7A")
# From the worst to the best, as the page has them: paper swallows the worst, one hue and its darkness tell the others.
RAMP = ("#d9dee4", "#acc8d0", "#6babbd", "#3382a8", "#234f86", "#1d306d")
MANY = 120
LONGEST = 28
LIMIT = 1e300  # differences of what is beyond are infinite
MAX_PANELS, MAX_AXES, MAX_CATEGORIES = 12, 10, 24
MAX_CURVE = 1000
UNSET = "not set"
SPREAD, GOLDEN = 0.35, 0.618034


def draw(report: Report, folder: Path) -> list[Path]:
    """Write the pictures that the report has something for; those of an earlier report go.

    Raises ModuleNotFoundError where there is no matplotlib.
    """
    from matplotlib import rc_context

    made = []
    with rc_context(STYLE), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing from")  # it draws a box for what no font has
        for name, draw_one in PICTURES.items():
            path = folder / name
            figure = draw_one(report)
            path.unlink(missing_ok=True)
            if figure is not None:
                figure.savefig(path, dpi=150)
                made.append(path)
    return made


def draw_curves(report: Report) -> Any:
    """The metric over epochs, a line for each run."""
    lines = [(entry, series.thinned(report.points(entry, report.metric), MAX_CURVE)) for entry in report.entries]
    lines = [(entry, curve) for entry, curve in lines if any(math.isfinite(y) for _, y in curve)]
    if not lines:
        return None
    figure = new_figure(9, 5)
    axes = figure.subplots()
    few, colours = len(report.entries) <= len(COLOURS), colours_of(report)
    low, high = shown_range([y for _, curve in lines for _, y in curve if math.isfinite(y)])
    for entry, curve in reversed(lines):
        marker = "o" if len(curve) < 2 else None
        xs, ys = zip(*((x, within(y, low, high)) for x, y in curve), strict=True)
        axes.plot(xs, ys, color=colours[entry.run.id], lw=thickness(lines), marker=marker, label=label(report, entry))
    axes.set_xlabel(text(report.axis))
    axes.set_ylabel(text(report.metric))
    axes.xaxis.get_major_locator().set_params(integer=True)
    axes.set_ylim(low, high)
    if few:
        handles, labels = axes.get_legend_handles_labels()
        figure.legend(handles[::-1], labels[::-1], loc="outside lower left", ncols=2)
    else:
        ramp(figure, axes, report)
    return figure


def draw_parameters(report: Report) -> Any:
    """The metric against each parameter."""
    entries, names = measured(report), report.parameters[:MAX_PANELS]
    if len(entries) < 2 or not names:
        return None
    columns = min(len(names), 3)
    rows = math.ceil(len(names) / columns)
    figure = new_figure(3.6 * columns + 0.6, 3.1 * rows)
    panels = list(figure.subplots(rows, columns, squeeze=False, sharey=True).flat)
    values, colours = [entry.last[report.metric] for entry in entries], colours_of(report)
    low, high = shown_range(values)
    for panel, name in zip(panels, names, strict=False):
        settings = [entry.settings.get(name, UNSET) for entry in entries]
        positions, ticks, logarithmic = placed(settings)
        if not finite(settings):  # beside one another, not on one another
            positions = [at + SPREAD * (number * GOLDEN % 1 - 0.5) for number, at in enumerate(positions)]
        size = 22 if len(entries) <= MANY else 7
        panel.scatter(
            positions,
            [within(value, low, high) for value in values],
            c=[colours[entry.run.id] for entry in entries],
            s=size,
            alpha=0.85,
        )
        panel.set_ylim(low, high)
        set_ticks(panel, ticks, logarithmic)
        panel.set_xlabel(text(name))
        if panel.get_subplotspec().is_first_col():
            panel.set_ylabel(text(report.metric))
    for panel in panels[len(names) :]:
        panel.set_visible(False)
    return figure


def draw_parallel(report: Report) -> Any:
    """A line for each run through its parameters to its metric."""
    entries, names = measured(report), report.parameters[:MAX_AXES]
    if len(entries) < 2 or len(names) < 2:
        return None
    columns = [*([entry.settings.get(name, UNSET) for entry in entries] for name in names)]
    axes_of = [placed(column) for column in columns] + [placed([entry.last[report.metric] for entry in entries])]
    heights = [unit(positions, logarithmic) for positions, _, logarithmic in axes_of]
    figure = new_figure(max(1.7 * len(axes_of), 6), 5)
    axes = figure.subplots()
    axes.set_axis_off()
    colours = colours_of(report)
    for number, entry in reversed(list(enumerate(entries))):
        levels = [column[number] for column in heights]
        axes.plot(levels, color=colours[entry.run.id], lw=thickness(entries), alpha=0.8)
    for place, (name, (positions, ticks, logarithmic)) in enumerate(zip((*names, report.metric), axes_of, strict=True)):
        axes.axvline(place, color="#444444", lw=0.8)
        axes.text(place, 1.06, text(name), ha="center", va="bottom", weight="bold", fontsize=8)
        shown = ticks or [(value, number_text(value)) for value in (min(positions), max(positions))]
        levels = unit([*positions, *(position for position, _ in shown)], logarithmic)[len(positions) :]
        for level, (_, words) in zip(levels, shown, strict=True):
            axes.text(place + 0.03, level, words, fontsize=7, va="center", bbox=HALO)
    if len(report.entries) > len(COLOURS):
        ramp(figure, axes, report)
    return figure


PICTURES: dict[str, Callable[[Report], Any]] = {
    "curves.png": draw_curves,
    "parameters.png": draw_parameters,
    "parallel.png": draw_parallel,
}
STYLE: Any = {
    "text.parse_math": False,  # a `$` in a name is a `$`
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": "#e3e6ea",
    "axes.axisbelow": True,
    "legend.frameon": False,
}
HALO = {"facecolor": "white", "edgecolor": "none", "alpha": 0.7, "pad": 0.6}


def new_figure(width: float, height: float) -> Any:
    """In inches. Without pyplot: no state, no display."""
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), layout="constrained")


def measured(report: Report) -> list[Entry]:
    """Runs whose metric is a number, the best first."""
    found = [entry for entry in report.entries if report.metric in entry.last]
    return [entry for entry in found if math.isfinite(entry.last[report.metric])]


def placed(values: Sequence[Any]) -> tuple[list[float], list[tuple[float, str]], bool]:
    """Where values stand on an axis, its ticks (none: matplotlib's own), and whether it is logarithmic."""
    if finite(values):
        numbers = [max(min(float(value), LIMIT), -LIMIT) for value in values]
        distinct = sorted(set(numbers))
        logarithmic = distinct[0] > 0 and distinct[-1] / distinct[0] >= 20
        return numbers, [(value, number_text(value)) for value in distinct] if len(distinct) <= 6 else [], logarithmic
    texts = [value if isinstance(value, str) else json.dumps(value) for value in values]
    known = {name: float(place) for place, name in enumerate(sorted(set(texts)))}
    every = math.ceil(len(known) / MAX_CATEGORIES)
    return [known[name] for name in texts], [(known[name], text(name)) for name in list(known)[::every]], False


def finite(values: Sequence[Any]) -> bool:
    return all(is_number(value) and math.isfinite(value) for value in values)


def unit(positions: Sequence[float], logarithmic: bool) -> list[float]:
    """Positions between 0 and 1."""
    numbers = [math.log(value) if logarithmic else value for value in positions]
    low, high = min(numbers), max(numbers)
    return [(value - low) / (high - low) if high > low else 0.5 for value in numbers]


def set_ticks(panel: Any, ticks: Sequence[tuple[float, str]], logarithmic: bool) -> None:
    if logarithmic:
        panel.set_xscale("log")
        panel.xaxis.set_major_formatter(lambda value, _: number_text(value))
        panel.xaxis.set_minor_formatter(lambda _, __: "")
    if ticks:
        panel.set_xticks([place for place, _ in ticks], [words for _, words in ticks])
        panel.set_xticks([], minor=True)
        if sum(len(words) for _, words in ticks) > LONGEST:
            panel.tick_params(axis="x", rotation=30)
        panel.margins(x=0.12)


def ramp(figure: Any, axes: Any, report: Report) -> None:
    """The bar that explains shades: by rank, the best first."""
    from matplotlib.cm import ScalarMappable

    entries = measured(report)
    if not entries:
        return
    bar = figure.colorbar(ScalarMappable(cmap=shades()), ax=axes, fraction=0.04, pad=0.03)
    bar.set_ticks([0, 1], labels=[number_text(entry.last[report.metric]) for entry in (entries[-1], entries[0])])
    bar.set_label(f"{text(report.metric)}, by rank", labelpad=-8)
    bar.outline.set_visible(False)


def colours_of(report: Report) -> dict[str, Any]:
    """By run: few have one each, many are shaded by rank. Those without a number are as pale as the worst."""
    if len(report.entries) <= len(COLOURS):
        return {entry.run.id: colour for entry, colour in zip(report.entries, COLOURS, strict=False)}
    found, shade = measured(report), shades()
    ranked = {entry.run.id: shade(1 - number / max(len(found) - 1, 1)) for number, entry in enumerate(found)}
    return {**{entry.run.id: RAMP[0] for entry in report.entries}, **ranked}


def shades() -> Any:
    from matplotlib.colors import LinearSegmentedColormap

    return LinearSegmentedColormap.from_list("rank", RAMP)


def thickness(lines: Sequence[Any]) -> float:
    return 1.8 if len(lines) <= len(COLOURS) else 1.0 if len(lines) <= MANY else 0.5


def within(value: float, low: float, high: float) -> float:
    """Near enough for the drawing's arithmetic; a line to what is far beyond the edge still leaves it there."""
    room = 20 * (high - low)
    return max(min(value, high + room), low - room) if math.isfinite(value) else math.nan


def shown_range(values: Sequence[float]) -> tuple[float, float]:
    """All values with a little room, or without the few that would flatten the rest."""
    ordered = sorted(max(min(value, LIMIT), -LIMIT) for value in values)
    low, high = ordered[0], ordered[-1]
    inner = [ordered[round(share * (len(ordered) - 1))] for share in (0.12, 0.88)]
    beside = 1.5 * (inner[1] - inner[0])
    least, most = max(low, inner[0] - beside), min(high, inner[1] + beside)
    if len(ordered) >= 20 and beside > 0 and high - low > 6 * (most - least):
        low, high = least, most
    room = 0.05 * (high - low) or abs(low) * 0.1 or 1.0
    return low - room, high + room


def label(report: Report, entry: Entry) -> str:
    settings = [f"{name.rpartition('.')[2]}={entry.settings.get(name, UNSET)}" for name in report.parameters[:3]]
    return text(", ".join(settings) or entry.run.id, 2 * LONGEST)


def number_text(value: float | int | None) -> str:
    return "" if value is None else f"{value:.4g}"


def text(words: str, longest: int = LONGEST) -> str:
    """Words on one line, as long as a chart bears, of characters that can be drawn."""
    line = " ".join("".join(c if c.isprintable() else " " for c in words).split())
    return line if len(line) <= longest else f"{line[: longest - 1]}…"
