"""What is completed, by table; and the scripts in real shells, driven without a terminal."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from runner.candidates import candidates, split
from runner.cli import VERBS, build_parser
from tests.conftest import ROOT, Cli, write

SHELLS = ("bash", "zsh", "fish")
MPI = ("backend", "compression", "engine", "kind", "nodes", "processes_per_node")


def complete(line: str) -> list[str]:
    return [text for text, _ in candidates(split(line), *build_parser())]


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("amlrun", []),
        ("amlrun val", ["validate"]),
        ("amlrun --project . val", ["validate"]),
        ("amlrun --ver", ["--version"]),
        ("amlrun run --det", ["--detach"]),
        ("amlrun run -m --str", ["--strict"]),
        ("amlrun run compute=gpu", ["compute=gpu-cluster", "compute=gpu-cluster-lowpriority"]),
        ("amlrun run --detach seed=1 optimizer=a", ["optimizer=adamw"]),
        ("amlrun run -m model=small_cnn,res", ["model=small_cnn,resnet18", "model=small_cnn,resnet50"]),
        ("amlrun run +/model@teacher=res", ["+/model@teacher=resnet18", "+/model@teacher=resnet50"]),
        ("amlrun run dist", ["distribution.", "distribution="]),
        ("amlrun run distribution=mpi distribution.", [f"distribution.{k}=" for k in MPI]),
        ("amlrun run distribution.", ["distribution.kind="]),
        ("amlrun run trainer.check", ["trainer.checkpoint."]),
        ("amlrun run trainer.checkpoint.k", ["trainer.checkpoint.keep="]),
        ("amlrun run ++trainer.epo", ["++trainer.epochs="]),
        ("amlrun run ~trainer.epo", ["~trainer.epochs"]),
        ("amlrun run distribution.backend=", [f"distribution.backend={v}" for v in ("auto", "gloo", "nccl")]),
        ("amlrun run git.require_clean=", ["git.require_clean=false", "git.require_clean=true"]),
        ("amlrun run experiment=folder inputs.", ["inputs.images."]),
        ("amlrun run experiment=digits-resnet18 model.w", ["model.weights="]),
        ("amlrun run sweep=lr-random sweep.policy.sl", ["sweep.policy.slack_amount=", "sweep.policy.slack_factor="]),
        ("amlrun run nothing.at.all", []),
        ("amlrun run seed=", []),
        ("amlrun run 'experiment=dig", ["experiment=digits", "experiment=digits-resnet18"]),
        ("amlrun list --state comp", ["completed"]),
        ("amlrun list --state=comp", ["--state=completed"]),
        ("amlrun models pre", ["predict"]),
        ("amlrun models predict la", ["last"]),
        ("amlrun models predict last con", ["configs/"]),
        ("amlrun models package workspace=em", ["workspace=emulator"]),
        ("amlrun models package last --output con", ["configs/"]),
        ("amlrun models list con", []),
        ("amlrun completion ", sorted(SHELLS)),
        ("amlrun completion bash ", []),
        ("amlrun schema --write con", ["configs/"]),
        ("amlrun show ", ["last"]),
        ("amlrun show last ", []),
        ("amlrun cancel last la", ["last"]),
    ],
)
def test_candidates(line: str, expected: list[str], project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(project)
    assert complete(line) == expected


def test_verbs_and_all_their_options(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(project)
    assert set(complete("amlrun ")) == set(VERBS)
    for verb in VERBS:
        assert "--json" in complete(f"amlrun {verb} --")


def test_runs_are_completed(cli: Cli, bare: Path) -> None:
    write(bare, {".runs/digits-1/plan.json": "{}", ".runs/other-2/plan.json": "{}"})
    assert cli(bare, "__complete", "amlrun logs ").out == "digits-1\t\nlast\tthe newest run\nother-2\t\n"
    assert cli(bare, "__complete", "amlrun cancel other-2 di").out == "digits-1\t\n"


def test_without_a_project_verbs_are_still_completed(cli: Cli, tmp_path: Path) -> None:
    assert cli(tmp_path, "__complete", "amlrun run comp").out == ""
    assert cli(tmp_path, "__complete", "amlrun wat").out.startswith("watch\t")


def test_broken_yaml_does_not_break_completion(cli: Cli, project: Path) -> None:
    write(project, {"configs/config.yaml": "defaults: [\n", "configs/model/x.yaml": "\t", "configs/data/y.yaml": "- 1"})
    assert cli(project, "__complete", "amlrun run model=x").out == "model=x\t\n"
    assert cli(project, "__complete", "amlrun run trainer.").code == 0


def test_asking_imports_nothing_heavy() -> None:
    heavy = ("hydra", "omegaconf", "jsonschema", "rich", "psutil", "pathspec", "torch", "azureml")
    code = (
        "import sys\nfrom runner.cli import main\nmain(['__complete', 'amlrun run trainer.'])\n"
        f"print([name for name in {heavy} if name in sys.modules], file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stderr.strip() == "[]"
    assert "trainer.epochs=" in done.stdout


DRIVERS = {
    "bash": """
        eval "$(amlrun completion bash)"
        COMP_LINE=$1 COMP_POINT=${#1}
        _amlrun amlrun
        printf '%s\\n' "${COMPREPLY[@]}"
    """,
    "zsh": """
        compdef() { :; }
        compadd() { shift; [[ $1 == -S ]] && shift 2; shift 2; shift; print -l -- ${(P)1}; }
        eval "$(amlrun completion zsh)"
        words=(${(z)1}); [[ $1 == *' ' ]] && words+=('')
        CURRENT=${#words} PREFIX=${words[-1]}
        _amlrun
    """,
    "fish": """
        amlrun completion fish | source
        complete -C $argv[1] | string replace -r '\\t.*' ''
    """,
}
# What bash replaces is the part after '=' only.
LINES = [
    ("amlrun val", {"bash": ["validate"], "zsh": ["validate"], "fish": ["validate"]}),
    (
        "amlrun run optimizer=",
        {
            "bash": ["adamw", "sgd"],
            "zsh": ["optimizer=adamw", "optimizer=sgd"],
            "fish": ["optimizer=adamw", "optimizer=sgd"],
        },
    ),
    ("amlrun run seed=1 trainer.epo", {key: ["trainer.epochs="] for key in SHELLS}),
    ("amlrun show ", {key: ["last"] for key in SHELLS}),
    ("amlrun run nothing", {key: [] for key in SHELLS}),
]


@pytest.mark.slow
@pytest.mark.parametrize("shell", SHELLS)
def test_in_a_real_shell(shell: str, project: Path) -> None:
    program = shutil.which(shell)
    if program is None:
        pytest.skip(f"no {shell} here")  # bash is everywhere that CI runs; the others where they are installed
    flags = {"bash": ["--norc"], "zsh": ["-f"], "fish": ["--no-config"]}[shell]
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environment = {**os.environ, "PATH": path, "HOME": str(project)}
    for line, expected in LINES:
        argv = [program, *flags, "-c", DRIVERS[shell], *([shell] if shell != "fish" else []), line]
        done = subprocess.run(argv, cwd=project, capture_output=True, text=True, env=environment)
        assert [text for text in done.stdout.splitlines() if text] == expected[shell], (line, done.stderr)
