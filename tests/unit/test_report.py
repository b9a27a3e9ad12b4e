"""report: what runs are compared by, what the page and the other files hold, whatever the runs have written."""

from __future__ import annotations

import base64
import csv
import dataclasses
import hashlib
import io
import json
import math
import re
import shlex
import sys
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from runner import history
from runner.errors import TargetError
from runner.report import page, pictures, record, series
from runner.report.gather import Asked, Entry, Report, gather
from runner.resources import packaged
from runner.spec import Failure, Run, State
from runner.sweeps import Sweep
from tests.conftest import Cli, write
from tests.plans import make_plan

NOW = "2026-01-01T02:00:00+00:00"
TRAP = "</script><img src=x onerror=alert(1)>\u2028\udcff'\"&$\\frac{"
NAN, INF = math.nan, math.inf


def an_entry(project: Path, run_id: str, rows: list[dict[str, Any]], /, **changes: Any) -> Entry:
    """A run of the plan that `changes` describe; `state`, `failure` are the run's."""
    state = changes.pop("state", State.COMPLETED)
    failure = changes.pop("failure", None)
    plan = make_plan(project, run_id, **{"digests": {"config": "c"}, **changes})
    ended = "2026-01-01T00:01:30+00:00" if state.final else None
    return Entry(Run(run_id, plan.url, plan.name, "local", state, plan.created, (), ended, failure), plan, rows)


def accuracy(*values: float) -> list[dict[str, Any]]:
    return [{"epoch": number, "test_accuracy": value} for number, value in enumerate(values, 1)]


def report_of(*entries: Entry, **asked: Any) -> Report:
    return gather(entries, entries[0].plan.project, NOW, Asked(**asked))


def data_of(text: str) -> Any:
    found = re.search(r'<script type="application/json" id="data">(.*?)</script>', text, re.DOTALL)
    assert found is not None
    return json.loads(found[1])


@pytest.mark.parametrize(
    ("names", "first", "goal"),
    [
        (["train_loss", "test_loss", "test_accuracy"], "test_accuracy", "maximize"),
        (["test_accuracy", "best_val_acc"], "best_val_acc", "maximize"),
        (["train_accuracy", "val_loss"], "val_loss", "minimize"),
        (["learning_rate", "loss"], "loss", "minimize"),
        (["a", "Validation/F1"], "Validation/F1", "maximize"),
        (["epoch", "step", "seconds", "x_ms.error"], "x_ms.error", "minimize"),
    ],
)
def test_the_metric_that_decides_is_a_held_out_one_and_its_name_says_what_is_better(
    names: list[str], first: str, goal: str
) -> None:
    assert series.names([[dict.fromkeys(names, 1.0)]])[0] == first
    assert series.goal_of(first) == goal


def test_only_numbers_are_metrics() -> None:
    row = {"a": True, "b": "x", "c": None, "d": [1], "e": 10**400, "f": NAN, "epoch": 1}
    assert series.names([[row]]) == ["f"]


@pytest.mark.parametrize(
    ("runs", "axis"),
    [
        ([[{"epoch": 1}, {"epoch": 2}], [{"epoch": 5}], []], "epoch"),
        ([[{"epoch": 1, "step": 1}, {"epoch": 1, "step": 2}]], "step"),
        ([[{"epoch": 1}, {"epoch": 2}], [{"step": 1}]], "row"),
        ([[{"epoch": 1}, {"epoch": NAN}]], "row"),
        ([], "row"),
    ],
)
def test_curves_are_drawn_against_what_grows_in_every_run(runs: list[Any], axis: str) -> None:
    assert series.axis_of(runs) == axis


def test_a_thinned_curve_keeps_its_ends_its_peak_and_its_gap() -> None:
    curve = [(float(x), math.sin(x / 900)) for x in range(10_000)]
    curve[4321], curve[7654] = (4321.0, 50.0), (7654.0, NAN)
    thin = series.thinned(curve, 100)
    assert len(thin) <= 102
    assert [curve[0], curve[4321], curve[-1]] == [thin[0], max(thin, key=lambda point: point[1]), thin[-1]]
    assert any(math.isnan(y) for _, y in thin)
    assert thin == sorted(thin, key=lambda point: point[0])


@pytest.mark.parametrize(("goal", "order"), [("", "bcad"), ("maximize", "bcad"), ("minimize", "acbd"), (None, "acb")])
def test_runs_come_in_the_order_of_their_last_values(tmp_path: Path, goal: str | None, order: str) -> None:
    values = {"a": [0.9, 0.1], "b": [0.1, 0.8], "c": [0.5], "d": [0.9, NAN], "e": []}
    entries = [an_entry(tmp_path, name, accuracy(*found)) for name, found in values.items()]
    asked = {"goal": goal} if goal is not None else {"metric": "test_accuracy", "goal": "minimize"}
    found = report_of(*entries, **asked)
    assert "".join(entry.run.id for entry in found.entries).startswith(order)
    runs = {run["id"]: run for run in record.as_json(found)["runs"]}
    assert runs["d"]["metrics"] == {"test_accuracy": "NaN"}
    assert runs["e"]["best"] is None
    if found.goal == "maximize":
        assert runs["a"]["best"] == {"epoch": 1, "value": 0.9}


def test_parameters_are_the_overridden_settings_that_differ_and_the_rest_is_told_apart(tmp_path: Path) -> None:
    def made(run_id: str, lr: float, option: str, cores: int, extra: tuple[str, ...] = ()) -> Entry:
        config = {"optimizer": {"lr": lr, "_target_": option}, "data": {"cores": cores, "same": 1}, "sweep": {"x": lr}}
        overrides = (f"optimizer={option}", f"++optimizer.lr={lr}", "data.same=1", *extra)
        return an_entry(
            tmp_path, run_id, [], config=config, choices={"optimizer": option, "e": "x"}, overrides=overrides
        )

    found = report_of(made("a", 0.1, "sgd", 1), made("b", 0.2, "adam", 2))
    assert found.parameters == ("optimizer.lr", "optimizer")
    assert found.others == ("optimizer._target_", "data.cores")
    mapping = report_of(made("a", 0.1, "sgd", 1, ("data={cores: 1}",)), made("b", 0.1, "sgd", 2))
    assert mapping.parameters == ("data.cores",)
    nothing = [dataclasses.replace(e, plan=dataclasses.replace(e.plan, overrides=())) for e in mapping.entries]
    assert report_of(*nothing).parameters == ("data.cores",)
    assert report_of(nothing[0]).parameters == ()


def test_the_record_has_the_documented_form_for_runs_in_every_state(tmp_path: Path) -> None:
    failure = Failure(
        "boom", 1, -9, f'File "{history.files(tmp_path, "failed").work}/main.py"', "logs/rank_1.log", "no"
    )
    entries = [
        an_entry(tmp_path, state.value, [], state=state, failure=failure if state is State.FAILED else None)
        for state in State
    ]
    whole = record.as_json(report_of(*entries))
    schema = json.loads((packaged("schemas") / "report.schema.json").read_text())
    jsonschema.validate({**whole, "files": {"page": "p", "pictures": [], "csv": None}}, schema)
    runs = {run["id"]: run for run in whole["runs"]}
    assert (runs["planned"]["seconds"], runs["running"]["seconds"], runs["failed"]["seconds"]) == (None, 7200, 90)
    assert runs["failed"]["failure"]["log"] == str(tmp_path / ".runs/failed/logs/rank_1.log")
    assert runs["failed"]["failure"]["evidence"] == f'File "{tmp_path}/main.py"'
    assert whole["metric"] == ""


def test_commands_repeat_a_run_word_for_word(tmp_path: Path) -> None:
    overrides = ("a='x y'", "b=$HOME", "c=[1,2]", "d=`ls`", "+e=\n")
    mine = record.as_json(report_of(an_entry(tmp_path, "r", [], overrides=overrides)))["runs"][0]
    assert shlex.split(mine["command"]) == ["amlrun", "run", *overrides]
    assert mine["rerun"] == "amlrun rerun r"
    theirs = record.as_json(report_of(an_entry(tmp_path, "r", [], digests={})))["runs"][0]
    assert (theirs["command"], theirs["rerun"]) == (None, None)


def test_secrets_are_in_nothing_that_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MY_KEY", "hunter2hunter2")
    failure = Failure("cannot log in with hunter2hunter2", evidence="https://u:pa55word@host/ hunter2hunter2")
    entry = an_entry(
        tmp_path,
        "r",
        accuracy(0.5),
        secrets=("MY_KEY",),
        overrides=("url=https://u:pa55word@host/",),
        tags={"t": "hunter2hunter2"},
        failure=failure,
        state=State.FAILED,
    )
    history.store_plan(tmp_path, entry.plan)
    found = report_of(entry)
    whole = record.as_json(found)
    for text in (json.dumps(whole), page.document(found, whole), record.as_csv(whole)):
        assert "hunter2" not in text
        assert "pa55word" not in text
        assert "[redacted]" in text


def test_the_page_lets_nothing_run_but_its_own_script_whatever_runs_have_written(tmp_path: Path) -> None:
    failure = Failure(TRAP, 0, 1, TRAP, f"logs/{TRAP}", TRAP)
    entries = [
        an_entry(
            tmp_path,
            f"r{number}",
            [{TRAP: 0.5, "epoch": 1}],
            name=TRAP,
            config={TRAP: TRAP * number},
            tags={TRAP: TRAP},
            overrides=(f"x={TRAP}",),
            failure=failure,
            state=State.FAILED,
        )
        for number in (1, 2)
    ]
    found = report_of(*entries)
    whole = record.as_json(found)
    text = page.document(found, whole)
    text.encode("utf-8")
    assert text.count("<script") == text.count("</script>") == 2
    assert "<img" not in text
    assert "//" not in re.sub(r"http://www.w3.org/2000/svg|^ *//.*$|\S+ // .*$", "", text.split("<style>")[0])
    for kind, tag in (("script", "<script>"), ("style", "<style>")):
        content = text.split(tag)[1].split(f"</{kind}>")[0]
        digest = base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()
        assert f"{kind}-src 'sha256-{digest}'" in text
    assert "default-src 'none'" in text
    shown = data_of(text)["record"]["runs"][0]
    assert (shown["tags"], shown["failure"]["cause"], shown["metrics"]) == ({TRAP: TRAP}, TRAP, {TRAP: 0.5})
    assert data_of(text)["curves"] == {TRAP: [[[1], [0.5]], [[1], [0.5]]]}


@pytest.mark.slow
def test_a_thousand_long_runs_that_said_a_lot_stay_a_page_below_ten_megabytes(tmp_path: Path) -> None:
    rows = [{f"m{metric}": step * 1.2345678 for metric in range(20)} | {"epoch": step} for step in range(40)]
    words = dict.fromkeys((f"k{number}" for number in range(10)), "word " * 200)
    failure = Failure("boom", 0, 1, "line\n" * 1000, "logs/rank_0.log")
    command = "x=" + "y" * 30_000
    entries = [
        an_entry(
            tmp_path,
            f"r{number:04}",
            rows,
            config={**words, "n": number},
            tags=words,
            overrides=(command,),
            failure=failure,
            state=State.FAILED,
        )
        for number in range(1000)
    ]
    found = report_of(*entries)
    text = page.document(found, record.as_json(found))
    assert len(text) < 10_000_000
    data = data_of(text)
    assert len(data["record"]["runs"]) == 1000
    assert {len(curve[0]) for curves in data["curves"].values() for curve in curves} <= set(range(20, 41))
    assert data["record"]["runs"][0]["rerun"].startswith("amlrun rerun r0")
    assert data["record"]["runs"][0]["command"] is None, "a command is there whole or not at all"
    assert data["record"]["runs"][0]["failure"]["evidence"].endswith("line\n")


def test_csv_is_read_back_as_it_was(tmp_path: Path) -> None:
    texts = ("a,b", 'say "hi"\nand more', "ünï")
    entries = [
        an_entry(tmp_path, f"r{n}", accuracy(0.5, INF), config={"t": text, "list": [n]}) for n, text in enumerate(texts)
    ]
    rows = list(csv.DictReader(io.StringIO(record.as_csv(record.as_json(report_of(*entries))))))
    assert {row["t"] for row in rows} == set(texts)
    assert {row["list"] for row in rows} == {"[0]", "[1]", "[2]"}
    assert {row["test_accuracy"] for row in rows} == {"Infinity"}
    assert rows[0]["seconds"] == "90.0"


@pytest.mark.parametrize(
    ("values", "names"),
    [
        ([[]], []),
        ([[NAN]], []),
        ([[0.1]], ["curves.png"]),
        ([[0.1], [0.2, INF, 1e308, -1e308]], ["curves.png", "parameters.png", "parallel.png"]),
        ([[0.1]] * 12, ["curves.png", "parameters.png", "parallel.png"]),
        ([[0.1, NAN]] * 12, ["curves.png"]),
    ],
)
def test_pictures_are_drawn_of_what_there_is(tmp_path: Path, values: list[list[float]], names: list[str]) -> None:
    pytest.importorskip("matplotlib", reason="the extra 'plots' is not installed")
    (tmp_path / "parallel.png").write_text("of an earlier report")
    entries = [
        an_entry(
            tmp_path,
            f"r{n}",
            accuracy(*found),
            config={"lr": 10.0**-n, "odd": NAN if n else 1, TRAP: TRAP * (n + 1), "flag": n > 0},
        )
        for n, found in enumerate(values)
    ]
    made = pictures.draw(report_of(*entries), tmp_path)
    assert [path.name for path in made] == names
    assert sorted(path.name for path in tmp_path.glob("*.png")) == sorted(names)
    assert all(path.read_bytes().startswith(b"\x89PNG") for path in made)


def stored(project: Path) -> Path:
    """A project with three runs: a good one, a better one, a failed one."""
    for name, values in {"good": (0.5, 0.7), "better": (0.6, 0.9), "broken": ()}.items():
        state = State.COMPLETED if values else State.FAILED
        failure = None if values else Failure("boom", 0, 7, "Traceback", "logs/rank_0.log")
        entry = an_entry(
            project, name, [], config={"lr": name}, overrides=(f"lr={name}",), state=state, failure=failure
        )
        history.store_plan(project, entry.plan)
        history.store_run(project, entry.run)
        lines = "".join(json.dumps({**row, "test_loss": row["test_accuracy"]}) + "\n" for row in accuracy(*values))
        history.files(project, name).metrics.write_text(lines)
    return project


def test_a_report_is_written_where_it_was_asked_for_and_says_so(
    cli: Cli, bare: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stored(bare)
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    done = cli(bare, "report", "good", "better", "broken", "good", "--output", "there", "--csv", "runs.csv", "--json")
    assert done.code == 0, done.err
    assert done.err == "no pictures without matplotlib; pip install 'amlrun[plots]'\n"
    answer = json.loads(done.out)
    jsonschema.validate(answer, json.loads((packaged("schemas") / "report.schema.json").read_text()))
    assert [run["id"] for run in answer["runs"]] == ["better", "good", "broken"]
    assert answer["files"] == {"page": "there/report.html", "pictures": [], "csv": "runs.csv"}
    assert data_of((bare / "there/report.html").read_text())["record"]["runs"][2]["failure"]["exit_code"] == 7
    assert (bare / "runs.csv").read_text().count("\n") == 4
    assert not (bare / "there/.gitignore").exists()

    done = cli(bare, "report", "good", "better", "--metric", "test_loss")
    folder = bare / "report-better-and-1-more"
    assert done.out == f"{folder}/report.html\n"
    assert [run["id"] for run in data_of((folder / "report.html").read_text())["record"]["runs"]] == ["good", "better"]
    assert (folder / ".gitignore").read_text() == "*\n", "the next snapshot leaves it out"
    assert cli(bare, "report", "last", "-q").out == ""


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (("--metric", "nope"), "no run has the metric 'nope'; metrics: 'test_accuracy', 'test_loss'"),
        (("zzz",), "no run 'zzz'; there are: "),
        (("--output", "configs/config.yaml"), "the report cannot be written: "),
        (("--csv", "no/such/folder.csv"), "'no/such/folder.csv': No such file or directory; say where with --output"),
    ],
)
def test_what_cannot_be_done_is_said(cli: Cli, bare: Path, argv: tuple[str, ...], said: str) -> None:
    done = cli(stored(bare), "report", "good", *argv)
    assert done.code == TargetError.exit_code
    assert said in done.err


def test_a_sweep_is_reported_under_its_name_and_by_its_metric(
    cli: Cli, bare: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stored(bare)
    monkeypatch.setitem(sys.modules, "matplotlib", None)  # pictures take longer than all the rest
    parts = {"name": "digits", "created": NOW, "swept": ("lr",), "goal": "minimize"}
    history.store_sweep(bare, Sweep(id="d-sweep-1", runs=("good", "better"), metric="test_loss", **parts))
    history.store_sweep(bare, Sweep(id="e-sweep-2", runs=("good", "better"), metric="not_yet", **parts))
    first = json.loads(cli(bare, "report", "d-sweep", "--json").out)
    assert (first["title"], first["metric"], first["goal"]) == ("d-sweep-1", "test_loss", "minimize")
    assert [run["id"] for run in first["runs"]] == ["good", "better"]
    assert first["files"]["page"] == f"{bare}/report-d-sweep-1/report.html"
    second = json.loads(cli(bare, "report", "e-sweep-2", "--json").out)
    assert (second["metric"], second["goal"]) == ("test_accuracy", "maximize")
    both = json.loads(cli(bare, "report", "d-sweep-1", "broken", "--json", "--metric", "test_loss").out)
    assert (len(both["runs"]), both["title"]) == (3, "3 runs of test")


def test_a_run_that_has_written_nothing_yet_has_a_report(cli: Cli, bare: Path) -> None:
    history.store_plan(bare, make_plan(bare, "planned", config={}))
    write(bare, {"there/parallel.png": "of an earlier report"})
    done = cli(bare, "report", "planned", "--output", "there", "--json")
    assert json.loads(done.out)["runs"][0]["state"] == "planned"
    assert done.code == 0
