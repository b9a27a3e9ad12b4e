"""run, list, show, logs, watch, cancel, download on real local runs of small scripts."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from runner.resources import packaged
from tests.conftest import Cli, commit, write

SCRIPT = """
import json, pathlib, sys
print("hello", *sys.argv[1:])
pathlib.Path("outputs").mkdir(exist_ok=True)
pathlib.Path("outputs/model.txt").write_text("weights")
pathlib.Path("outputs/metrics.jsonl").write_text(json.dumps({"epoch": 1, "test_accuracy": 0.5}) + "\\n")
"""


def schema(name: str) -> Any:
    return json.loads((packaged("schemas") / f"{name}.schema.json").read_text())


def test_a_script_from_submission_to_download(cli: Cli, bare: Path) -> None:
    write(bare, {"main.py": SCRIPT})
    sha = commit(bare)
    done = cli(bare, "run", "code.script=main.py", "code.arguments=[--name,'a b']")
    assert done.code == 0, done.err
    lines = done.out.splitlines()
    assert lines[0].startswith("local://digits-")
    assert "hello --name a b" in lines
    assert any(line.endswith(" running") for line in lines)
    assert any(line.startswith("test accuracy") and line.endswith("0.5") for line in lines)

    record = json.loads(cli(bare, "show", "last", "--json").out)
    assert record["state"] == "completed"
    assert record["metrics"]["test_accuracy"] == 0.5
    assert record["git"]["commit"] == sha
    assert set(record["digest"]) == {"config", "training", "snapshot"}
    assert [Path(path).read_text() for path in record["logs"]] == ["hello --name a b\n"]
    assert (Path(record["outputs"]) / "model.txt").read_text() == "weights"
    assert record["files"] == ["metrics.jsonl", "model.txt"]
    jsonschema.validate(record, schema("show"))

    run_id = record["id"]
    listed = json.loads(cli(bare, "list", "--json").out)
    jsonschema.validate(listed, schema("list"))
    assert [row["id"] for row in listed["runs"]] == [run_id]
    assert run_id in cli(bare, "list").out
    assert run_id not in cli(bare, "list", "--state", "failed").out
    assert cli(bare, "logs", run_id[:12]).out == "hello --name a b\n"
    assert cli(bare, "logs", "-f", record["url"]).out == "hello --name a b\n"
    assert cli(bare, "watch").code == 0
    assert run_id in cli(bare, "show").out
    assert cli(bare, "cancel", run_id).out == f"{run_id} completed\n"
    assert cli(bare, "download", "last", "--to", "got").code == 0
    assert (bare / "got" / "model.txt").read_text() == "weights"


def test_a_failing_script_is_exit_5_with_its_traceback(cli: Cli, bare: Path) -> None:
    write(bare, {"main.py": "print('before')\nraise ValueError('boom')\n"})
    done = cli(bare, "run", "code.script=main.py")
    assert done.code == 5
    assert "rank 0 of 1" in done.err
    assert "ValueError: boom" in done.err
    assert done.out.count("Traceback") == 0
    assert "rank_0.log" in done.err
    shown = cli(bare, "show")
    assert shown.code == 0
    assert "ValueError: boom" in shown.out
    record = json.loads(cli(bare, "show", "--json").out)
    jsonschema.validate(record, schema("show"))
    assert record["failure"]["rank"] == 0


@pytest.mark.slow
def test_run_json_is_the_record_alone(cli: Cli, bare: Path) -> None:
    write(bare, {"main.py": SCRIPT})
    done = cli(bare, "run", "--json", "code.script=main.py")
    assert json.loads(done.out)["state"] == "completed"
    assert "hello" in done.err
    quiet = cli(bare, "run", "--quiet", "code.script=main.py")
    assert (quiet.code, quiet.out) == (0, "")


@pytest.mark.slow
def test_a_small_sweep_runs_every_point(cli: Cli, bare: Path) -> None:
    write(bare, {"main.py": SCRIPT})
    done = cli(bare, "run", "-m", "code.script=main.py", "seed=1,2", "compute.slots=2", "--json")
    assert done.code == 0, done.err
    assert [run["config"]["seed"] for run in json.loads(done.out)["runs"]] == [1, 2]


def test_detached_run_is_followed_later(cli: Cli, bare: Path) -> None:
    write(bare, {"main.py": SCRIPT})
    done = cli(bare, "run", "--detach", "code.script=main.py")
    assert done.code == 0
    assert "hello" not in done.out
    watched = cli(bare, "watch", done.out.strip())
    assert watched.code == 0
    assert "hello" in watched.out


def test_logs_of_an_unknown_rank(cli: Cli, bare: Path) -> None:
    write(bare, {"main.py": SCRIPT})
    cli(bare, "run", "-q", "code.script=main.py")
    done = cli(bare, "logs", "--rank", "7")
    assert done.code == 4
    assert "has no log of rank 7; ranks with a log: 0" in done.err


@pytest.mark.parametrize("verb", ["list", "show", "logs", "cancel"])
def test_looking_at_runs_does_not_pay_for_composing(verb: str) -> None:
    """Hydra takes 0.3 s to import."""
    from runner.cli import VERBS

    module = VERBS[verb].do.partition(":")[0]
    check = f"import sys, {module}; sys.exit('hydra' in sys.modules or 'omegaconf' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", check]).returncode == 0
