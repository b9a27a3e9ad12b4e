"""Locks: what was frozen is what runs, whatever YAML and code are by then; and it is found again from a commit."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import pytest

from runner import history
from runner.lock import read_lock, unlocked
from tests.conftest import Cli, commit, write

pytestmark = pytest.mark.slow  # a real run each

SCRIPT = "import sys, pathlib\nprint('version ONE', *sys.argv[1:])\npathlib.Path('outputs').mkdir(exist_ok=True)\n"
ARGS = ("code.script=main.py", "code.arguments=[--lr,0.1]")


@pytest.fixture
def locked(cli: Cli, bare: Path) -> Path:
    """A committed project with a lock in it, whose script and YAML were changed afterwards."""
    write(bare, {"main.py": SCRIPT})
    commit(bare)
    done = cli(bare, "plan", *ARGS, "--lock", "exp.lock.json")
    assert done.code == 0, done.err
    write(bare, {"main.py": SCRIPT.replace("ONE", "TWO")})
    text = (bare / "configs/config.yaml").read_text()
    write(bare, {"configs/config.yaml": text.replace("name: digits", "name: other")})
    return bare


def output(cli: Cli, project: Path, *argv: str) -> str:
    done = cli(project, *argv)
    assert done.code == 0, done.err
    return done.out


def test_a_lock_runs_what_was_frozen(cli: Cli, locked: Path) -> None:
    out = output(cli, locked, "run", "--locked", "exp.lock.json")
    assert "version ONE --lr 0.1" in out
    record = json.loads(output(cli, locked, "show", "--json"))
    assert record["name"] == "digits"
    assert "version TWO" in output(cli, locked, "run", *ARGS)


def test_two_runs_of_a_lock_are_two_runs_of_the_same_plan(cli: Cli, locked: Path) -> None:
    output(cli, locked, "run", "-q", "--locked", "exp.lock.json")
    output(cli, locked, "run", "-q", "--locked", "exp.lock.json")
    runs, _ = history.list_runs(locked)
    one, two = (history.load_plan(locked, run.id) for run in runs)
    assert one.id != two.id
    assert (one.config, one.digests, one.layout, one.snapshot) == (two.config, two.digests, two.layout, two.snapshot)
    assert "are the same plan" in output(cli, locked, "diff", one.id, two.id)


def test_a_lock_holds_nothing_of_this_machine(locked: Path) -> None:
    text = (locked / "exp.lock.json").read_text()
    assert str(locked) not in text
    assert "/bin/python" not in text


def test_a_clone_finds_the_code_in_the_commit(cli: Cli, locked: Path, tmp_path: Path) -> None:
    clone = tmp_path / "clone"
    subprocess.run(["git", "clone", "-q", str(locked), str(clone)], check=True)
    shutil.copy(locked / "exp.lock.json", clone)
    write(clone, {"main.py": "raise SystemExit('changed')\n"})
    assert "version ONE" in output(cli, clone, "run", "--locked", "exp.lock.json")


def test_a_project_below_the_top_of_its_repository_is_found_too(cli: Cli, bare: Path, tmp_path: Path) -> None:
    top = tmp_path / "top"
    shutil.copytree(bare, top / "projects" / "mine")
    mine = write(top, {".gitignore": "*.bin\n", "projects/mine/main.py": SCRIPT, "projects/mine/x.bin": "x"})
    mine = mine / "projects" / "mine"
    commit(top)
    output(cli, mine, "plan", *ARGS, "--lock", "l.json")
    shutil.rmtree(mine / ".runs")
    write(mine, {"main.py": "changed"})
    assert "version ONE" in output(cli, mine, "run", "--locked", "l.json")


def test_uncommitted_changes_are_found_by_the_stored_diff(cli: Cli, bare: Path) -> None:
    write(bare, {"main.py": "old\n"})
    commit(bare)
    write(bare, {"main.py": SCRIPT})
    output(cli, bare, "plan", *ARGS, "--lock", "l.json")
    shutil.rmtree(bare / ".runs")
    write(bare, {"main.py": "newer\n"})
    assert "version ONE" in output(cli, bare, "run", "--locked", "l.json")


def test_code_that_is_nowhere_is_exit_3_and_says_where_was_looked(cli: Cli, bare: Path) -> None:
    write(bare, {"main.py": "old\n"})
    sha = commit(bare)
    write(bare, {"main.py": SCRIPT, "untracked.py": "x"})
    output(cli, bare, "plan", *ARGS, "--lock", "l.json")
    shutil.rmtree(bare / ".runs")
    write(bare, {"main.py": "newer\n"})
    done = cli(bare, "run", "--locked", "l.json")
    assert done.code == 3
    assert f"is not commit {sha[:12]} of this repository (2 files were not committed then)" in done.err


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (None, "l.json: not found; write one with"),
        ("{not json", "l.json:1:2: not JSON"),
        ('{"format": "amlrun-lock/9"}', "its format is 'amlrun-lock/9', not 'amlrun-lock/1'"),
        ('{"format": "amlrun-lock/1"}', "not a lock: 'plans' is missing"),
        ("[]", "l.json: not a lock"),
        ('{"format": "amlrun-lock/1", "plans": [{"id": 1}], "code": []}', "l.json: not a lock"),
    ],
)
def test_what_is_no_lock(cli: Cli, bare: Path, text: str | None, said: str) -> None:
    if text is not None:
        write(bare, {"l.json": text})
    done = cli(bare, "run", "--locked", "l.json")
    assert done.code == 2
    assert said in done.err


def test_a_lock_takes_no_overrides(cli: Cli, locked: Path) -> None:
    done = cli(locked, "run", "--locked", "exp.lock.json", "seed=2")
    assert done.code == 2
    assert "a lock takes no overrides" in done.err


def test_a_sweep_can_be_locked(cli: Cli, bare: Path) -> None:
    write(bare, {"main.py": SCRIPT})
    output(cli, bare, "plan", "-m", "code.script=main.py", "seed=1,2", "--lock", "l.json")
    plans = unlocked(read_lock(bare / "l.json"), bare)
    assert [plan.config["seed"] for plan in plans] == [1, 2]
    assert len({plan.id for plan in plans}) == 2


def test_a_sweep_whose_points_are_not_known_is_not_locked(cli: Cli, bare: Path) -> None:
    sweep = "sampler: bayesian\nparams: {seed: [1, 2]}\nmetric: m\ngoal: minimize\nmax_total: 2\n"
    write(bare, {"main.py": SCRIPT, "configs/sweep/mine.yaml": sweep})

    done = cli(bare, "plan", "code.module=null", "code.script=main.py", "sweep=mine", "--lock", "l.json")

    assert done.code == 2
    assert "l.json: a sweep that draws points while it runs cannot be locked; lock a run" in done.err
    assert not (bare / "l.json").exists()


def test_a_key_in_the_code_is_not_locked(cli: Cli, bare: Path) -> None:
    write(bare, {"main.py": SCRIPT, "id_rsa": "-----BEGIN RSA PRIVATE " + "KEY-----\n"})
    done = cli(bare, "plan", "code.script=main.py", "--lock", "l.json")
    assert done.code == 3
    assert not (bare / "l.json").exists()


def test_require_clean_refuses_a_dirty_tree_and_lists_it(cli: Cli, bare: Path) -> None:
    write(bare, {"main.py": SCRIPT})
    done = cli(bare, "run", "code.script=main.py", "git.require_clean=true")
    assert done.code == 2
    assert "is in no git repository" in done.err
    commit(bare)
    assert cli(bare, "run", "-q", "code.script=main.py", "git.require_clean=true").code == 0
    write(bare, {"main.py": SCRIPT + "#", "new.py": ""})
    done = cli(bare, "run", "code.script=main.py", "git.require_clean=true")
    assert done.code == 2
    assert "override 'git.require_clean=true'" in done.err
    assert "2 uncommitted changes: M main.py, ? new.py; commit them, or set it to false" in done.err
    assert len(history.list_runs(bare)[0]) == 1
    assert "would be refused" in cli(bare, "plan", "code.script=main.py", "git.require_clean=true").err


def test_a_script_that_an_ignore_file_keeps_here_is_said_before_anything_is_sent(cli: Cli, bare: Path) -> None:
    write(bare, {".gitignore": "scratch/\n", "scratch/main.py": SCRIPT, "outputs/main.py": SCRIPT})
    done = cli(bare, "run", "code.script=scratch/main.py")
    assert done.code == 2
    assert "code.script: 'scratch/main.py' does not travel: left out by 'scratch/' (.gitignore)" in done.err
    assert "left out by 'outputs/' (always left out)" in cli(bare, "run", "code.script=outputs/main.py").err
    write(bare, {"main.py": SCRIPT})
    assert cli(bare, "run", "-q", "code.script=./main.py").code == 0
