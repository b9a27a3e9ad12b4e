"""What is stored, by whom it can be read meanwhile, and how a run is found by name."""

from __future__ import annotations

import dataclasses
import json
import threading
from pathlib import Path

import pytest

from runner import history
from runner.errors import TargetError
from runner.spec import Failure, GitState, Layout, Plan, Run, State
from runner.sweeps import Sweep
from tests import plans


def make_plan(run_id: str, created: str = "2026-01-01T00:00:00+00:00") -> Plan:
    return plans.make_plan(
        Path("/p"),
        run_id,
        created=created,
        overrides=("a='ü'",),
        choices={"env": "auto"},
        config={"compute": {"slots": 1}},
        layout=Layout("mpi", 2, 2, "gloo"),
        arguments=("--x", "\udce9"),  # what Python makes of a byte that is no UTF-8
        environment={"A": "1"},
        secrets=("S",),
        git=GitState(dirty=("a",)),
    )


def store(project: Path, *run_ids: str) -> list[Run]:
    """Runs made one second after the other."""
    runs = []
    for second, run_id in enumerate(run_ids):
        plan = make_plan(run_id, f"2026-01-01T00:00:{second:02d}+00:00")
        history.store_plan(project, plan)
        history.store_run(project, history.planned(plan))
        runs.append(history.load_run(project, run_id))
    return runs


def test_a_plan_and_a_run_come_back_as_they_were(tmp_path: Path) -> None:
    plan = make_plan("a")
    history.store_plan(tmp_path, plan)
    run = dataclasses.replace(
        history.planned(plan), state=State.FAILED, failure=Failure("c", 1, 2, "e", "l", "a"), note="ü", ended="t"
    )
    history.store_run(tmp_path, run)

    assert history.load_plan(tmp_path, "a") == plan
    assert history.load_run(tmp_path, "a") == run


def test_a_stored_plan_is_never_replaced(tmp_path: Path) -> None:
    history.store_plan(tmp_path, make_plan("a"))
    history.store_plan(tmp_path, dataclasses.replace(make_plan("a"), name="other"))

    assert history.load_plan(tmp_path, "a").name == "test"


def test_a_plan_without_a_run_is_planned(tmp_path: Path) -> None:
    history.store_plan(tmp_path, make_plan("a"))

    run = history.load_run(tmp_path, "a")
    assert (run.state, run.url) == (State.PLANNED, "local://a")


def test_git_does_not_see_the_history(tmp_path: Path) -> None:
    history.store_plan(tmp_path, make_plan("a"))

    assert (tmp_path / ".runs" / ".gitignore").read_text() == "*\n"


def test_paths(tmp_path: Path) -> None:
    files = history.files(tmp_path, "a")

    assert files.rank_log(3) == tmp_path / ".runs" / "a" / "logs" / "rank_3.log"
    assert files.name_of(files.launcher_log) == "logs/launcher.log"
    assert history.snapshot_dir(tmp_path, "d") == tmp_path / ".runs" / "snapshots" / "d"


def test_runs_are_listed_newest_first(tmp_path: Path) -> None:
    first, second, third = store(tmp_path, "b", "c", "a")

    assert history.list_runs(tmp_path) == ([third, second, first], [])


def test_no_history_is_an_empty_list(tmp_path: Path) -> None:
    assert history.list_runs(tmp_path / "nowhere") == ([], [])


def test_what_is_no_run_is_a_warning_and_the_rest_is_listed(tmp_path: Path) -> None:
    [good] = store(tmp_path, "good")
    for name in ("foreign", "torn", "wrong", "old", "empty", "snapshots"):
        (tmp_path / ".runs" / name).mkdir()
    (tmp_path / ".runs" / "file").touch()
    (tmp_path / ".runs" / "foreign" / "notes.txt").touch()
    (tmp_path / ".runs" / "torn" / "plan.json").write_text('{"id": "to')
    (tmp_path / ".runs" / "wrong" / "plan.json").write_text("[]")
    (tmp_path / ".runs" / "old" / "plan.json").write_text("{}")
    (tmp_path / ".runs" / "old" / "run.json").write_text('{"state": "resting"}')
    (tmp_path / ".runs" / "empty" / ".plan.json.1234").touch()  # somebody is just storing a plan

    runs, problems = history.list_runs(tmp_path)
    assert runs == [good]
    assert sorted(problem.place.source for problem in problems) == [
        ".runs/foreign",
        ".runs/old",
        ".runs/torn",
        ".runs/wrong",
    ]
    assert {problem.severity for problem in problems} == {"warning"}
    assert str(problems[[p.place.source for p in problems].index(".runs/foreign")]) == (
        ".runs/foreign: not a run: it has no plan.json; move it away or remove it"
    )


@pytest.mark.parametrize("name", ["digits-1a", "local://digits-1a", "digits-1"])
def test_a_run_is_found_by_id_url_and_beginning(tmp_path: Path, name: str) -> None:
    run, *_ = store(tmp_path, "digits-1a", "digits-2b", "other-1a")

    assert history.resolve(tmp_path, name) == run


def test_last_is_the_newest(tmp_path: Path) -> None:
    *_, newest = store(tmp_path, "z", "a")

    assert history.resolve(tmp_path, "last") == newest


def test_a_remote_run_is_found_by_its_url(tmp_path: Path) -> None:
    [run] = store(tmp_path, "a")
    history.store_run(tmp_path, dataclasses.replace(run, url="azureml://n/a"))

    assert history.resolve(tmp_path, "azureml://n/a").id == "a"


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("digits-", "'digits-' is the beginning of 2 runs; say more: 'digits-2b', 'digits-1a'"),
        ("digit-1a", "no run 'digit-1a'; did you mean 'digits-1a'? there are: 'other', 'digits-2b', 'digits-1a'"),
        ("../a", "no run '../a'; there are: 'other', 'digits-2b', 'digits-1a'"),
        ("", "no run ''; there are: 'other', 'digits-2b', 'digits-1a'"),
        ("snapshots", "no run 'snapshots'; there are: 'other', 'digits-2b', 'digits-1a'"),
    ],
)
def test_a_name_that_fits_none_or_several(tmp_path: Path, name: str, message: str) -> None:
    store(tmp_path, "digits-1a", "digits-2b", "other")

    with pytest.raises(TargetError) as error:
        history.resolve(tmp_path, name)
    assert str(error.value) == message


def test_ten_of_many_are_listed(tmp_path: Path) -> None:
    store(tmp_path, *(f"r{number:02d}" for number in range(12)))

    with pytest.raises(TargetError, match=r"'r11', .*'r02' and 2 more$"):
        history.resolve(tmp_path, "x")


def test_an_empty_history_says_how_to_start(tmp_path: Path) -> None:
    with pytest.raises(TargetError, match=r"there are no runs in '.*'; start one with 'amlrun run'"):
        history.resolve(tmp_path, "last")


def test_a_broken_file_is_named(tmp_path: Path) -> None:
    store(tmp_path, "a")
    history.files(tmp_path, "a").run.write_text("{")

    with pytest.raises(TargetError, match=r"run\.json' cannot be read .*; remove the folder"):
        history.resolve(tmp_path, "a")


def test_one_of_many_claims_a_run(tmp_path: Path) -> None:
    store(tmp_path, "a")
    ready, won = threading.Barrier(8), []

    def compete(number: int) -> None:
        ready.wait()
        if history.claim(tmp_path, "a", {"pid": number}):
            won.append(number)

    threads = [threading.Thread(target=compete, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert len(won) == 1
    assert history.owner_of(tmp_path, "a") == {"pid": won[0]}
    history.hand_over(tmp_path, "a", {"pid": 99})
    assert history.owner_of(tmp_path, "a") == {"pid": 99}
    assert sorted(path.name for path in history.files(tmp_path, "a").root.iterdir()) == [
        "owner.json",
        "plan.json",
        "run.json",
    ]


def test_nobody_owns_a_run_that_was_not_submitted(tmp_path: Path) -> None:
    store(tmp_path, "a")

    assert history.owner_of(tmp_path, "a") is None


def test_a_reader_never_sees_half_a_file(tmp_path: Path) -> None:
    path, stop, bad = tmp_path / "x.json", threading.Event(), []
    history.write_json(path, {"n": "0" * 20_000})

    def read() -> None:
        while not stop.is_set():
            try:
                json.loads(path.read_bytes())
            except ValueError:
                bad.append(path)

    reader = threading.Thread(target=read)
    reader.start()
    for number in range(50):
        history.write_json(path, {"n": str(number) * 20_000})
    stop.set()
    reader.join()

    assert bad == []
    assert [path.name for path in tmp_path.iterdir()] == ["x.json"]


def test_a_value_that_is_no_json_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    history.write_json(path, 1)

    with pytest.raises(TypeError):
        history.write_json(path, object())
    assert path.read_text() == "1"
    assert len(list(tmp_path.iterdir())) == 1


# Sweeps


def sweeps(project: Path, *ids: str) -> None:
    for second, sweep_id in enumerate(ids):
        runs = tuple(run.id for run in store(project, f"{sweep_id}-a", f"{sweep_id}-b"))
        history.store_sweep(project, Sweep(sweep_id, "n", f"2026-01-01T00:00:{second:02d}+00:00", runs))


def test_a_sweep_is_found_by_id_beginning_and_as_the_last(tmp_path: Path) -> None:
    sweeps(tmp_path, "z-sweep-1", "a-sweep-1")
    store(tmp_path, "digits-1")

    found = [history.find_sweep(tmp_path, name) for name in ("z-sweep-1", "last-sweep", "last", "digits-1", "", "x")]
    assert [sweep and sweep.id for sweep in found] == ["z-sweep-1", "a-sweep-1", None, None, None, None]
    assert [sweep.id for sweep in history.list_sweeps(tmp_path)] == ["a-sweep-1", "z-sweep-1"]


def test_a_beginning_that_runs_have_too_is_theirs(tmp_path: Path) -> None:
    history.store_sweep(tmp_path, Sweep("n-sweep-12", "n", "2026-01-01T00:00:00+00:00", ("n-sweets", "n-x")))
    store(tmp_path, "n-sweets", "n-x")

    assert history.find_sweep(tmp_path, "n-sweep") == history.load_sweep(tmp_path, "n-sweep-12")
    assert history.find_sweep(tmp_path, "n-swee") is None


def test_a_beginning_of_several_sweeps_names_them(tmp_path: Path) -> None:
    for name in ("n-sweep-1", "n-sweep-2"):
        history.store_sweep(tmp_path, Sweep(name, "n", "2026-01-01T00:00:00+00:00", ("a",)))

    with pytest.raises(TargetError, match="the beginning of 2 sweeps; say more: 'n-sweep-1', 'n-sweep-2'"):
        history.find_sweep(tmp_path, "n-s")


def test_no_sweep_says_how_to_make_one(tmp_path: Path) -> None:
    with pytest.raises(TargetError, match="there is no sweep yet; 'amlrun run -m key=a,b' makes one"):
        history.find_sweep(tmp_path, "last-sweep")
    with pytest.raises(TargetError, match="no sweep 'x'; 'amlrun list --sweeps' shows what there is"):
        history.load_sweep(tmp_path, "x")


def test_the_plans_are_there_before_their_sweep(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def stop(project: Path, sweep: Sweep) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(history, "store_sweep", stop)
    with pytest.raises(KeyboardInterrupt):
        history.store_together(tmp_path, [make_plan("a"), make_plan("b")], Sweep("s", "n", "t", ("a", "b")))

    assert sorted(history.run_ids(tmp_path)) == ["a", "b"]
    assert history.sweep_ids(tmp_path) == []


def test_who_is_responsible_changes_hands_once(tmp_path: Path) -> None:
    store(tmp_path, "a")
    assert history.claim(tmp_path, "a", {"pid": 1})

    assert history.take_over(tmp_path, "a", {"pid": 1}, {"pid": 2})
    assert not history.take_over(tmp_path, "a", {"pid": 1}, {"pid": 3})
    assert history.owner_of(tmp_path, "a") == {"pid": 2}
