"""The command line in process: what each verb prints, its exit codes, and what it does not import."""

from __future__ import annotations

import json
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import jsonschema
import pytest

from runner.cli import VERBS, parse
from runner.resources import packaged
from tests.conftest import Cli, commit, write


def test_help_names_every_verb(cli: Cli, tmp_path: Path) -> None:
    done = cli(tmp_path, "--help")
    assert done.code == 0
    assert all(f"\n    {name}" in done.out for name in VERBS)


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_has_help(cli: Cli, tmp_path: Path, verb: str) -> None:
    done = cli(tmp_path, verb, "--help")
    assert done.code == 0
    assert "--project DIR" in done.out


def test_help_imports_nothing_heavy() -> None:
    heavy = ("hydra", "omegaconf", "jsonschema", "yaml", "rich", "psutil", "pathspec", "torch", "azureml")
    code = (
        "import sys\nfrom runner.cli import main\n"
        "try:\n    main(['--help'])\nexcept SystemExit:\n    pass\n"
        f"print([name for name in {heavy} if name in sys.modules], file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stderr.strip() == "[]"


def test_version(cli: Cli, tmp_path: Path) -> None:
    assert cli(tmp_path, "--version").out.startswith("amlrun 0.")


@pytest.mark.parametrize(
    "argv",
    [
        ["run", "a=1", "--detach", "b=2", "-m", "c=3"],
        ["run", "--detach", "-m", "a=1", "b=2", "c=3"],
        ["--quiet", "run", "a=1", "b=2", "c=3", "-dm"],
    ],
)
def test_options_and_overrides_may_be_mixed(argv: list[str]) -> None:
    args = parse(argv)
    assert (args.overrides, args.detach, args.multirun) == (["a=1", "b=2", "c=3"], True, True)


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (["run", "--detatch"], "unexpected argument '--detatch'; did you mean '--detach'?"),
        (["show", "a", "b"], "unexpected argument 'b'; see amlrun show --help"),
        (["rnu"], "invalid choice: 'rnu'"),
    ],
)
def test_wrong_usage_is_exit_2(cli: Cli, tmp_path: Path, argv: list[str], said: str) -> None:
    done = cli(tmp_path, *argv)
    assert done.code == 2
    assert said in done.err


def test_no_project(cli: Cli, tmp_path: Path) -> None:
    done = cli(tmp_path, "validate")
    assert done.code == 2
    assert "configs/config.yaml: not found in" in done.err
    assert "--project DIR" in done.err


def test_project_is_found_upward_and_by_name(cli: Cli, project: Path, tmp_path: Path) -> None:
    assert cli(project / "train" / "models", "validate").code == 0
    assert cli(tmp_path, "validate", "--project", "project").code == 0
    assert cli(tmp_path, "--project", "project", "validate").code == 0


def test_four_mistakes_are_four_problems_with_their_places_and_nothing_is_created(cli: Cli, project: Path) -> None:
    text = "# @package _global_\nnam: mine\ntrainer:\n  epoch: 3\n  batch_size: many\n"
    write(project, {"configs/experiment/mine.yaml": text})
    done = cli(project, "run", "experiment=mine", "optimizer.learning=1")
    assert done.code == 2
    lines = done.err.splitlines()
    assert [line.split(": ")[0] for line in lines[:-1]] == [
        "configs/experiment/mine.yaml:2:1",
        "configs/experiment/mine.yaml:4:3",
        "configs/experiment/mine.yaml:5:15",
        "override 'optimizer.learning=1'",
    ]
    assert lines[-1] == "amlrun: 4 problems; nothing was sent"
    assert "did you mean 'name'?" in lines[0]
    assert "did you mean 'epochs'?" in lines[1]
    assert not (project / ".runs").exists()


def test_validate_json(cli: Cli, project: Path) -> None:
    assert json.loads(cli(project, "validate", "--json").out) == {"problems": []}
    done = cli(project, "validate", "--json", "seed=abc")
    assert done.code == 2
    schema = json.loads((packaged("schemas") / "validate.schema.json").read_text())
    jsonschema.validate(json.loads(done.out), schema)
    (problem,) = json.loads(done.out)["problems"]
    assert (problem["place"], problem["path"]) == ("override 'seed=abc'", "seed")


def test_config_shows_every_value_with_its_place(cli: Cli, project: Path) -> None:
    out = cli(project, "config", "experiment=digits", "seed=7").out
    lines = [line for line in out.splitlines() if not line.rstrip().endswith(":")]
    assert all("  # " in line for line in lines)
    assert any(line.startswith("seed: 7 ") and line.endswith("# override 'seed=7'") for line in lines)
    assert "  kind: local" in out


def test_config_json_is_one_line_a_point(cli: Cli, project: Path) -> None:
    done = cli(project, "config", "--json", "-m", "seed=1,2")
    assert [json.loads(line)["seed"] for line in done.out.splitlines()] == [1, 2]


def test_commas_without_m_say_so(cli: Cli, project: Path) -> None:
    done = cli(project, "plan", "seed=1,2")
    assert done.code == 2
    assert "several values, but this is a single run; add -m to sweep over it" in done.err


def test_plan_json_is_offline_and_creates_no_run(cli: Cli, project: Path) -> None:
    commit(project)
    write(project, {"new.py": "x"})
    done = cli(project, "plan", "--json", "experiment=digits", "compute=gpu-cluster")
    assert done.code == 0
    data = json.loads(done.out)
    (plan,) = data["plans"]
    assert plan["target"] == "azureml"
    assert plan["git"]["dirty"] == ["? new.py"]
    assert len(plan["git"]["commit"]) == 40
    assert data["snapshot"]["digest"] == plan["snapshot"]["digest"]
    assert {"digest", "files", "bytes", "biggest", "left_out"} <= set(data["snapshot"])
    assert plan["not_asked"]
    assert not [path for path in (project / ".runs").iterdir() if path.name.startswith("digits")]


def test_plan_text_says_what_autos_became(cli: Cli, project: Path) -> None:
    out = cli(project, "plan", "compute=gpu-cluster", "distribution=pytorch", "distribution.nodes=2").out
    assert "2 nodes x 1 processes, distribution pytorch, backend nccl" in out
    assert "distribution.backend: nccl (1 GPUs in Standard_NC4as_T4_v3)" in out


def test_azure_without_its_sdk_or_a_workspace_is_exit_4_and_nothing_is_staged(cli: Cli, project: Path) -> None:
    done = cli(project, "run", "compute=gpu-cluster")
    assert done.code == 4
    installed = find_spec("azureml") is not None
    assert ("no config.json from" if installed else "pip install 'amlrun[azure]'") in done.err
    assert not list((project / ".runs").glob("digits*"))


def test_a_key_in_the_code_is_exit_3(cli: Cli, bare: Path) -> None:
    write(bare, {"main.py": "print(1)\n", "id_rsa": "-----BEGIN RSA PRIVATE " + "KEY-----\n"})
    done = cli(bare, "run", "code.script=main.py")
    assert done.code == 3
    assert "id_rsa:1:1: looks like a private key" in done.err
    assert not list((bare / ".runs").glob("digits*"))


def test_a_key_can_be_allowed_by_file(cli: Cli, bare: Path) -> None:
    write(bare, {"main.py": "print(1)\n", "fake.pem": "-----BEGIN RSA PRIVATE " + "KEY-----\n"})
    assert cli(bare, "run", "-q", "code.script=main.py", "code.allow_secrets=[fake.pem]").code == 0


def test_unknown_run_is_exit_4_and_lists_what_there_is(cli: Cli, bare: Path) -> None:
    for verb in ("show", "logs", "watch", "download"):
        done = cli(bare, verb, "nothing")
        assert done.code == 4
        assert "no run 'nothing'" in done.err


def test_runs_of_one_submission_go_to_one_target(cli: Cli, project: Path) -> None:
    done = cli(project, "run", "-m", "compute=local,gpu-cluster")
    assert done.code == 2
    assert "compute: these runs go to local and azureml; send them apart" in done.err
    assert not list((project / ".runs").glob("digits*"))


def test_a_lock_is_held_to_a_limit_of_cost(cli: Cli, project: Path) -> None:
    write(project, {"configs/prices.csv": "size,usd_per_hour,date\nStandard_NC4as_T4_v3,0.6,2026-11-01\n"})
    locked = cli(project, "plan", "compute=gpu-cluster", "limits.max_minutes=60", "--lock", "l.json")
    assert locked.code == 0, locked.err
    done = cli(project, "run", "--locked", "l.json", "--max-cost", "0.1")
    assert done.code == 2
    assert "override '--max-cost=0.1': cost of 1 run at most 0.70 USD" in done.err
