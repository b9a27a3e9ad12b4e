"""rerun, resume, diff, clean: what is made of earlier runs, and what is removed of them."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from runner import history
from runner.spec import Plan
from runner.sweeps import Sweep
from tests.conftest import Cli, commit, write

pytestmark = pytest.mark.slow  # a real run each

# Counts its attempts in ./outputs, as a training counts steps in its checkpoints; fails until the third.
COUNTER = """
import pathlib, sys
state = pathlib.Path("outputs/checkpoints/count")
state.parent.mkdir(parents=True, exist_ok=True)
count = int(state.read_text()) + 1 if state.exists() else 1
state.write_text(str(count))
print("attempt", count, *sys.argv[1:])
sys.exit(0 if count >= 3 else 1)
"""
ONCE = "import sys\nprint('ran', *sys.argv[1:])\n"


def ok(cli: Cli, project: Path, *argv: str) -> str:
    done = cli(project, *argv)
    assert done.code == 0, done.err
    return done.out


def plans(project: Path) -> list[Plan]:
    """Newest first."""
    return [history.load_plan(project, run.id) for run in history.list_runs(project)[0]]


@pytest.fixture
def once(cli: Cli, bare: Path) -> Path:
    write(bare, {"main.py": ONCE})
    commit(bare)
    ok(cli, bare, "run", "-q", "code.script=main.py", "code.arguments=[--lr,0.1]")
    return bare


def test_rerun_is_the_identical_plan_with_a_new_id(cli: Cli, once: Path) -> None:
    write(once, {"main.py": "raise SystemExit('changed')\n", "configs/config.yaml": "broken: ["})
    assert "ran --lr 0.1" in ok(cli, once, "rerun", "last")
    new, old = plans(once)
    assert new.id != old.id
    assert (new.config, new.snapshot, new.digests, new.layout) == (old.config, old.snapshot, old.digests, old.layout)


def test_rerun_with_overrides_is_that_runs_plus_these(cli: Cli, once: Path) -> None:
    assert "ran --lr 0.1" in ok(cli, once, "rerun", "last", "seed=5")
    new, old = plans(once)
    assert new.overrides == (*old.overrides, "seed=5")
    assert new.config["seed"] == 5


def test_rerun_finds_cleaned_code_in_the_commit(cli: Cli, once: Path) -> None:
    write(once, {"main.py": "raise SystemExit('changed')\n"})
    shutil.rmtree(once / ".runs" / "snapshots")
    assert "ran --lr 0.1" in ok(cli, once, "rerun", "last")


def test_resume_goes_on_from_what_the_run_had_written(cli: Cli, bare: Path) -> None:
    write(bare, {"main.py": COUNTER})
    assert cli(bare, "run", "code.script=main.py").code == 5
    second = cli(bare, "resume")
    assert second.code == 5
    assert "attempt 2" in second.out
    assert "attempt 3" in ok(cli, bare, "resume", "last")
    third, second_plan, first = plans(bare)
    assert (first.resumes, second_plan.resumes, third.resumes) == (None, first.id, second_plan.id)
    assert (history.files(bare, first.id).outputs / "checkpoints/count").read_text() == "1"
    done = cli(bare, "resume")
    assert done.code == 4
    assert "is completed, there is nothing to finish" in done.err


def test_resume_sends_a_plan_that_was_stored_and_never_sent(cli: Cli, bare: Path) -> None:
    write(bare, {"main.py": ONCE})
    ok(cli, bare, "run", "-q", "code.script=main.py")
    (plan,) = plans(bare)
    place = history.files(bare, plan.id)
    for path in (place.run, place.owner):  # as if the command had been killed between storing and sending
        path.unlink()
    for folder in (place.outputs, place.logs, place.ranks):
        shutil.rmtree(folder)
    assert history.load_run(bare, plan.id).state.value == "planned"
    assert plan.id in ok(cli, bare, "resume", plan.id)
    assert history.load_run(bare, plan.id).state.value == "completed"


def test_diff_names_values_code_and_nothing_else(cli: Cli, once: Path) -> None:
    write(once, {"main.py": ONCE.replace("ran", "walked")})
    ok(cli, once, "run", "-q", "code.script=main.py", "code.arguments=[--lr,0.2]", "seed=3")
    new, old = plans(once)
    data: dict[str, Any] = json.loads(ok(cli, once, "diff", old.id, new.id, "--json"))
    changed = {item["path"]: (item["old"], item["new"]) for item in data["differences"]}
    assert changed["config.code.arguments"] == (["--lr", 0.1], ["--lr", 0.2])
    assert changed["config.seed"] == (0, 3)
    assert set(changed) == {
        "config.code.arguments",
        "config.seed",
        "overrides",
        "git.dirty",
        "git.diff",
    }
    assert "-print('ran', *sys.argv[1:])" in data["code"]
    text = ok(cli, once, "diff", old.id)
    assert "seed" in text
    assert "0 -> 3" in text
    assert "are the same plan" in ok(cli, once, "diff", "last", "last")


def test_plan_diff_compares_with_an_earlier_run(cli: Cli, once: Path) -> None:
    same = ("code.script=main.py", "code.arguments=[--lr,0.1]")
    assert "are the same plan" in ok(cli, once, "plan", *same, "--diff", "last")
    assert "0 -> 9" in ok(cli, once, "plan", *same, "seed=9", "--diff", "last")


def test_clean_keeps_runs_and_what_they_need(cli: Cli, once: Path) -> None:
    stale = once / ".runs" / "snapshots" / "0123"
    write(stale, {"a.py": "x"})
    (plan,) = plans(once)
    assert "would remove .runs/snapshots/0123" in ok(cli, once, "clean", "--dry-run")
    assert stale.exists()
    assert "removed .runs/snapshots/0123" in ok(cli, once, "clean")
    assert not stale.exists()
    assert history.snapshot_dir(once, plan.snapshot.digest).is_dir()
    assert ok(cli, once, "clean").strip() == "nothing to remove"
    assert "ran" in ok(cli, once, "rerun", "last")


def test_clean_removes_chosen_runs_with_their_code(cli: Cli, once: Path) -> None:
    (plan,) = plans(once)
    assert ok(cli, once, "clean", "--state", "failed").strip() == "nothing to remove"
    assert ok(cli, once, "clean", "--older-than", "1").strip() == "nothing to remove"
    removed = json.loads(ok(cli, once, "clean", plan.id, "--json"))["removed"]
    assert [item["path"] for item in removed] == [f".runs/{plan.id}", f".runs/snapshots/{plan.snapshot.digest}"]
    assert plans(once) == []


def test_clean_by_state(cli: Cli, bare: Path) -> None:
    write(bare, {"main.py": "raise SystemExit(1)\n"})
    cli(bare, "run", "-q", "code.script=main.py")
    write(bare, {"main.py": ONCE})
    ok(cli, bare, "run", "-q", "code.script=main.py")
    ok(cli, bare, "clean", "--state", "failed")
    assert [run.state.value for run in history.list_runs(bare)[0]] == ["completed"]
    assert cli(bare, "clean", "--state", "faild").code == 4


def test_clean_takes_a_sweep_and_forgets_it_with_its_last_run(cli: Cli, bare: Path) -> None:
    write(bare, {"main.py": ONCE})
    ok(cli, bare, "run", "-q", "-m", "code.script=main.py", "seed=1,2")
    history.store_sweep(bare, Sweep("growing-sweep-1", "growing", "2026-01-01T00:00:00+00:00", ()))
    (sweep, _) = history.list_sweeps(bare)
    ok(cli, bare, "clean", sweep.runs[0])
    assert len(history.list_sweeps(bare)) == 2
    removed = json.loads(ok(cli, bare, "clean", sweep.id, "--json"))["removed"]
    assert f".runs/sweeps/{sweep.id}.json" in [item["path"] for item in removed]
    assert [each.id for each in history.list_sweeps(bare)] == ["growing-sweep-1"]
    assert history.list_runs(bare)[0] == []


def test_secrets_are_names_in_everything_that_is_kept(cli: Cli, bare: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    value = "s3cret-Value-of-the-shell"
    monkeypatch.setenv("MY_TOKEN", value)
    script = "import os\nprint('got', len(os.environ['MY_TOKEN']))\nraise ValueError(os.environ['MY_TOKEN'])\n"
    write(bare, {"main.py": script})
    done = cli(bare, "run", "code.script=main.py", "env.secrets=[MY_TOKEN]")
    assert done.code == 5
    assert f"got {len(value)}" in done.out
    shown = [done, cli(bare, "show"), cli(bare, "show", "--json"), cli(bare, "logs"), cli(bare, "logs", "--json")]
    assert all(value not in outcome.out + outcome.err for outcome in shown)
    assert "ValueError: [redacted]" in done.err
    rank_log = next((bare / ".runs").glob("*/logs/rank_0.log"))
    kept = [path for path in (bare / ".runs").rglob("*") if path.is_file() and path != rank_log]
    assert [path for path in kept if value.encode() in path.read_bytes()] == []


def test_a_missing_secret_is_said_before_anything_starts(cli: Cli, bare: Path) -> None:
    write(bare, {"main.py": ONCE})
    done = cli(bare, "run", "code.script=main.py", "env.secrets=[NOT_SET_ANYWHERE]")
    assert done.code == 4
    assert "NOT_SET_ANYWHERE" in done.err


def test_a_secret_in_the_configuration_is_refused_and_not_repeated(cli: Cli, bare: Path) -> None:
    write(bare, {"main.py": ONCE})
    done = cli(bare, "run", "code.script=main.py", "code.arguments=[--url,'https://me:hunter22@host/x']")
    assert done.code == 2
    assert "looks like a secret" in done.err
    assert "hunter22" not in done.err
    assert not list((bare / ".runs").glob("digits*")) if (bare / ".runs").exists() else True
