"""What stops a plan from being sent: each gate, its neighbour that passes, and where the problem is shown."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from runner.errors import Place
from runner.gate import LISTED_FILES, MAX_WORD_BYTES, blockers
from runner.plan import snapshot_key
from runner.snapshot import take
from runner.spec import Code, Config, Distribution, GitState, Job, Origin
from tests.conftest import write
from tests.plans import make_plan

CLEAN = GitState("a" * 40, "main")


def a_job(project: Path, code: Code | None = None, **changes: Any) -> Job:
    places = {("git", "require_clean"): Place("git.yaml", 2, 3), ("code", "script"): Place("code.yaml", 4, 5)}
    places |= {("compute", "kind"): Place.of_override(f"compute={changes.get('target', 'local')}")}
    values: dict[str, Any] = {
        "config": Config(project, {}, origins={path: Origin(place, place) for path, place in places.items()}),
        **{"name": "a", "seed": 0, "tags": {}, "target": "local", "compute": {}, "env": {}, "workspace": {}},
        **{"distribution": Distribution("none"), "inputs": {}, "limits": {}},
        "code": code or Code("command", project, "ls"),
    }
    return Job(**{**values, **changes})


def stopped(*jobs: Job, git: GitState = CLEAN) -> list[str]:
    plans = [make_plan(job.config.project, f"r-{index}", git=git) for index, job in enumerate(jobs)]
    snapshots = {snapshot_key(job.code): take(job.code.root, None, {}) for job in jobs}
    return [str(problem) for problem in blockers(jobs, plans, snapshots)]


@pytest.mark.parametrize(
    ("git", "said"),
    [
        (CLEAN, None),
        (GitState(), "the project is in no git repository, or has no commit"),
        (GitState(None, "main", ("? a",)), "the project is in no git repository, or has no commit"),
        (GitState("a" * 40, "main", ("? a b", "M c")), "2 uncommitted changes: ? a b, M c"),
        (GitState("a" * 40, None, tuple("abcdefghij")), f"10 uncommitted changes: {', '.join('abcdefghij')}"),
        (GitState("a" * 40, None, tuple("abcdefghijkl")), f"{', '.join('abcdefghij')} and 2 more"),
    ],
)
def test_a_dirty_tree_where_a_clean_one_is_asked_for(tmp_path: Path, git: GitState, said: str | None) -> None:
    assert LISTED_FILES == 10
    found = stopped(a_job(tmp_path, require_clean=True), git=git)
    assert len(found) == (said is not None)
    if said is not None:
        assert found[0].startswith("git.yaml:2:3: git.require_clean: ")
        assert found[0].endswith(f"{said}; commit them, or set it to false")
    assert stopped(a_job(tmp_path), git=git) == []


@pytest.mark.parametrize(
    ("entry", "said"),
    [
        ("main.py", None),
        ("./main.py", None),
        ("src//deep/../main.py", "does not travel"),
        ("src/deep/main.py", None),
        ("ü b.py", None),
        (
            "scratch.py",
            "'scratch.py' does not travel: left out by 'scratch*' (.gitignore); bring it back with '!' there",
        ),
        ("private/a.py", "'private/a.py' does not travel: left out by 'private/' (.amlignore)"),
        ("outputs/a.py", "'outputs/a.py' does not travel: left out by 'outputs/' (always left out)"),
        ("gone.py", "code.script: 'gone.py' does not travel; bring it back"),
        ("private.py", None),  # its name only begins like that of a folder that stays
    ],
)
def test_a_script_that_does_not_travel(tmp_path: Path, entry: str, said: str | None) -> None:
    names = ("main.py", "src/main.py", "src/deep/main.py", "ü b.py", "scratch.py", "private/a.py", "outputs/a.py")
    write(
        tmp_path, dict.fromkeys((*names, "private.py"), "") | {".gitignore": "scratch*\n", ".amlignore": "private/\n"}
    )
    write(tmp_path, {".amlignore": "private/\nscratch*\n"}) if "private" in entry else (
        tmp_path / ".amlignore"
    ).unlink()
    found = stopped(a_job(tmp_path, Code("script", tmp_path, entry)))
    assert len(found) == (said is not None)
    assert said is None or said in found[0]
    assert all(text.startswith("code.yaml:4:5: code.script: ") for text in found)


@pytest.mark.parametrize("code", [("command", "scratch.py"), ("module", "scratch")])
def test_what_is_no_script_is_not_looked_for(tmp_path: Path, code: tuple[str, str]) -> None:
    write(tmp_path, {".gitignore": "scratch*\n", "scratch.py": ""})
    assert stopped(a_job(tmp_path, Code(code[0], tmp_path, code[1]))) == []


def test_runs_of_one_submission_go_to_one_target(tmp_path: Path) -> None:
    here, there = a_job(tmp_path), a_job(tmp_path, target="azureml")
    assert stopped(here, here) == stopped(there) == []
    expected = "override 'compute=azureml': compute: these runs go to local and azureml; send them apart"
    assert stopped(here, here, there) == [expected]


def test_what_holds_for_many_runs_is_said_once(tmp_path: Path) -> None:
    jobs = [a_job(tmp_path, Code("script", tmp_path, "gone.py"), require_clean=True) for _ in range(5)]
    found = stopped(*jobs, git=GitState())
    assert [text.split(": ")[1] for text in found] == ["git.require_clean", "code.script"]


def test_no_plan_has_nothing_to_stop() -> None:
    assert stopped() == []


@pytest.mark.parametrize(
    ("changes", "bytes_over"),
    [
        ({"arguments": ("x" * MAX_WORD_BYTES,)}, 0),
        ({"arguments": ("x" * MAX_WORD_BYTES + "y",)}, 1),
        ({"command": ("echo", "ü" * (MAX_WORD_BYTES // 2 + 1))}, 1),
        ({"shell": "true;" * (MAX_WORD_BYTES // 5 + 1)}, 4),
        ({"environment": {"NAME": "x" * (MAX_WORD_BYTES - 5)}}, 0),
        ({"environment": {"NAME": "x" * (MAX_WORD_BYTES - 4)}}, 1),
    ],
)
def test_a_word_that_linux_would_not_take(tmp_path: Path, changes: dict[str, Any], bytes_over: int) -> None:
    job, plan = a_job(tmp_path), make_plan(tmp_path, "r", **changes)
    found = [str(problem) for problem in blockers([job], [plan], {snapshot_key(job.code): take(tmp_path, None, {})})]

    said = f"one word of the command line has {MAX_WORD_BYTES + bytes_over:,} bytes, and Linux takes 131,071"
    assert [said in text for text in found] == [True] * bool(bytes_over)


@pytest.mark.slow
def test_linux_takes_exactly_that(tmp_path: Path) -> None:
    echo = [sys.executable, "-c", "import sys; print(len(sys.argv[1]))"]
    assert subprocess.run([*echo, "x" * MAX_WORD_BYTES], capture_output=True, check=True).stdout == b"131071\n"
    with pytest.raises(OSError, match="Argument list too long"):
        subprocess.run([*echo, "x" * (MAX_WORD_BYTES + 1)], check=False)
