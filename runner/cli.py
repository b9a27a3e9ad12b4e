"""The command line: argv to one verb. Nothing heavy is imported before the verb is known, so `--help` is quick."""

from __future__ import annotations

import argparse
import difflib
import gc
import importlib
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from runner.errors import ConfigError, RunnerError, StoppedError

OVERRIDES_HELP = "Hydra overrides: group=option, key=value, +new=value, ~gone"
RUN_HELP = "a run: its id (or the start of it), its URL, or 'last'"
SWEEP_HELP = f"{RUN_HELP}; or a sweep: its id (or the start of it), or 'last-sweep'"


@dataclass(frozen=True, slots=True)
class Verb:
    """One verb: the module and function that do it, a line of help, and its own arguments."""

    do: str
    help: str
    arguments: Callable[[argparse.ArgumentParser], None]
    epilog: str = ""


def composing(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("overrides", nargs="*", help=OVERRIDES_HELP)
    parser.add_argument("-m", "--multirun", action="store_true", help="sweep: every combination of a=1,2 b=range(3)")


def checking(parser: argparse.ArgumentParser) -> None:
    composing(parser)
    parser.add_argument("--strict", action="store_true", help="warnings stop, as errors do")


def costing(parser: argparse.ArgumentParser) -> None:
    checking(parser)
    limiting(parser)


def limiting(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--max-cost", type=dollars, metavar="USD", help="refuse what may cost more, all runs together")


def dollars(text: str) -> float:
    value = float(text)
    if not 0 <= value < float("inf"):
        raise ValueError
    return value


def planning(parser: argparse.ArgumentParser) -> None:
    costing(parser)
    parser.add_argument(
        "--lock", type=Path, metavar="FILE", help="freeze the plan in a file, for git and 'run --locked'"
    )
    parser.add_argument("--diff", metavar="RUN", help="what sets it apart from an earlier run")
    parser.add_argument(
        "--online", action="store_true", help="ask the workspace too: cluster, quota, environment; nothing is made"
    )


def running(parser: argparse.ArgumentParser) -> None:
    costing(parser)
    detaching(parser)
    parser.add_argument("--stop-on-failure", action="store_true", help="sweeps: after one has failed, start no other")
    parser.add_argument("--skip-done", action="store_true", help="leave out what a completed run has trained already")
    parser.add_argument("--locked", type=Path, metavar="FILE", help="send exactly what 'plan --lock FILE' froze")


def detaching(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("-d", "--detach", action="store_true", help="return after submission, with the run's URL")


def rerunning(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("run", help=RUN_HELP)
    parser.add_argument(
        "overrides", nargs="*", help=f"none: the identical plan; else that run's plus these. {OVERRIDES_HELP}"
    )
    limiting(parser)
    detaching(parser)


def resuming(parser: argparse.ArgumentParser) -> None:
    one_run(parser)
    parser.add_argument("--failed", action="store_true", help="sweeps: also repeat what failed or was canceled")
    limiting(parser)
    detaching(parser)


def comparing(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("old", help=RUN_HELP)
    parser.add_argument("new", nargs="?", default="last", help=f"{RUN_HELP} (default: last)")


def reporting(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("runs", nargs="+", metavar="run", help=f"{RUN_HELP}; or a sweep: its id, or 'last-sweep'")
    parser.add_argument("--metric", metavar="NAME", help="sort by this one (default: a held-out accuracy, else loss)")
    parser.add_argument("--goal", choices=("maximize", "minimize"), help="what is better (default: by its name)")
    parser.add_argument("--output", type=Path, metavar="DIR", help="folder to write to (default: ./report-RUN)")
    parser.add_argument("--csv", type=Path, metavar="FILE", help="the table as CSV too")


def cleaning(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("runs", nargs="*", metavar="run", help=f"{RUN_HELP}; none: only what no run needs any more")
    parser.add_argument("--older-than", type=float, metavar="DAYS", help="ended runs of that age")
    parser.add_argument("--state", help="ended runs in this state: completed, failed, canceled")
    parser.add_argument("--dry-run", action="store_true", help="say what would be removed")


def one_run(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("run", nargs="?", default="last", help=f"{SWEEP_HELP} (default: last)")


def reading_logs(parser: argparse.ArgumentParser) -> None:
    one_run(parser)
    parser.add_argument("--rank", type=int, help="only this rank's log")
    parser.add_argument("-f", "--follow", action="store_true", help="go on until the run ends")


def diagnosing(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "what", nargs="?", default="last", metavar="RUN|FOLDER", help=f"{RUN_HELP}; or a folder of logs (default: last)"
    )


def cancelling(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("runs", nargs="+", metavar="run", help=SWEEP_HELP)


def downloading(parser: argparse.ArgumentParser) -> None:
    one_run(parser)
    parser.add_argument("--to", type=Path, metavar="DIR", help="folder to write to (default: ./RUN)")


def writing_schemas(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--write", type=Path, metavar="DIR", help="write them to this folder (YAML names ./schemas)")


def modeling(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("action", choices=("list", "download", "register", "predict", "package"))
    words = "predict, package: MODEL (a .onnx file, a run, or a registered NAME[:VERSION]), then images and folders; "
    parser.add_argument("overrides", nargs="*", help=words + "which workspace: workspace=emulator, workspace.name=...")
    parser.add_argument("--name", help="of the model; list: only this one")
    parser.add_argument("--version", type=int, metavar="N", help="download: this one (default: the newest)")
    parser.add_argument("--to", type=Path, default=Path(), metavar="DIR", help="download: where to (default: here)")
    parser.add_argument("--run", help="register: from this run's outputs")
    parser.add_argument("--path", help="register: the file or folder (default: outputs/model.pt)")
    parser.add_argument("--tag", action="append", default=[], metavar="NAME=VALUE", help="register: a tag; repeat it")
    parser.add_argument("--top", type=at_least_one, default=3, metavar="N", help="predict: so many labels (default: 3)")
    parser.add_argument("--output", type=Path, metavar="DIR", help="package: the folder (default: ./MODEL-package)")
    parser.add_argument("--force", action="store_true", help="package: also into a folder that holds something else")


def at_least_one(text: str) -> int:
    if int(text) < 1:
        raise ValueError
    return int(text)


def emulating(parser: argparse.ArgumentParser) -> None:
    actions = ("start", "stop", "status", "reset", "env")
    disturbing = ("requests", "fail", "latency", "repeat", "preempt", "advance", "script")
    parser.add_argument("action", choices=actions + disturbing)
    words = "fail: KIND or none; latency: SECONDS or LEAST-MOST; repeat: accept, 409 or merge; preempt: RUN; "
    parser.add_argument("what", nargs="?", help=words + "advance: SECONDS; script: JSON")
    parser.add_argument(
        "--dir", type=Path, metavar="DIR", help="where it keeps its state (default: the project's .runs/emulator)"
    )
    parser.add_argument("--port", type=int, default=0, help="start: listen here (default: as before, else a free one)")
    parser.add_argument("--python", metavar="P", help="start: the interpreter of the jobs (default: its own)")
    parser.add_argument("--idle-minutes", type=float, default=0, help="start: stop after so long without use")
    parser.add_argument("--execution", choices=("real", "scripted"), default="real", help="start: processes, or none")
    parser.add_argument("--speed", type=float, metavar="N", help="script: virtual seconds a second (0: only advance)")
    parser.add_argument("--foreground", action="store_true", help="start: serve here, until Ctrl-C")
    parser.add_argument("--no-config", action="store_true", help="env: leave .azureml/config.json here alone")
    parser.add_argument("--path", metavar="GLOB", help="fail, requests: of these paths (default: all)")
    parser.add_argument("--method", metavar="M", help="fail, requests: of this method (default: all)")
    parser.add_argument("--node", action="store_true", help="preempt: a node, CLUSTER-N, instead of a run")
    parser.add_argument("--status", metavar="N", help="requests: with this answer")
    parser.add_argument("--count", type=int, metavar="N", help="fail: so many requests (default: 1)")
    parser.add_argument(
        "--seconds", type=float, metavar="S", help="fail: how long it stalls, refuses; preempt: the grace"
    )


def examining(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("overrides", nargs="*", help=OVERRIDES_HELP)
    parser.add_argument("--offline", action="store_true", help="this machine and the project alone")


def keeping_environments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("action", choices=("list", "save"))
    parser.add_argument(
        "overrides", nargs="*", metavar="DIR|override", help=f"save: the folder first. {OVERRIDES_HELP}"
    )
    parser.add_argument("--overwrite", action="store_true", help="save: replace what an earlier save has written there")


def naming_shell(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("shell", choices=("bash", "zsh", "fish"))


def listing(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("-n", "--count", type=int, default=20, help="how many, newest first (default: 20)")
    parser.add_argument("--state", help="only runs in this state: running, completed, failed, canceled, ...")
    parser.add_argument("--sweeps", action="store_true", help="sweeps instead of runs")
    parser.add_argument("--remote", action="store_true", help="ask the workspace, not this project's history")
    parser.add_argument("--experiment", metavar="NAME", help="with --remote: only runs of this experiment")
    parser.add_argument("overrides", nargs="*", help="with --remote: which workspace: workspace=emulator, ...")


VERBS: dict[str, Verb] = {
    "run": Verb(
        "runner.verbs.running:run",
        "submit, follow until it ends, collect the results",
        running,
        "amlrun run experiment=digits\n"
        "  amlrun run experiment=digits distribution=pytorch distribution.processes_per_node=2\n"
        "  amlrun run -m experiment=digits optimizer.lr=0.001,0.003 seed=1,2",
    ),
    "validate": Verb("runner.verbs.composing:validate", "check the configuration: all problems at once", checking),
    "plan": Verb("runner.verbs.composing:plan", "show what would be sent, without sending it", planning),
    "config": Verb("runner.verbs.composing:config", "the composed YAML, each value with what set it", composing),
    "list": Verb("runner.verbs.past:list_", "runs, newest first", listing),
    "show": Verb("runner.verbs.past:show", "one run: state, metrics, configuration, paths", one_run),
    "watch": Verb("runner.verbs.past:watch", "follow a run that was submitted before", one_run),
    "logs": Verb("runner.verbs.past:logs", "the logs of a run's ranks", reading_logs),
    "cancel": Verb("runner.verbs.past:cancel", "stop runs", cancelling),
    "diagnose": Verb(
        "runner.verbs.diagnosing:diagnose",
        "why a run, or any folder of logs, failed: the first cause, what shows it, what to do",
        diagnosing,
        "amlrun diagnose last\n  amlrun diagnose ~/Downloads/ExperimentRun  # Azure's logs, no amlrun involved",
    ),
    "rerun": Verb("runner.verbs.again:rerun", "run an earlier run's plan again, or with other overrides", rerunning),
    "resume": Verb(
        "runner.verbs.again:resume", "finish a run that failed or was stopped, from its checkpoints", resuming
    ),
    "diff": Verb(
        "runner.verbs.comparing:diff", "what sets two runs apart: configuration, code, environment", comparing
    ),
    "report": Verb(
        "runner.verbs.reporting:report", "runs side by side: a page that opens offline, pictures, CSV, JSON", reporting
    ),
    "clean": Verb("runner.verbs.cleaning:clean", "remove ended runs and what no run needs any more", cleaning),
    "download": Verb("runner.verbs.past:download", "copy a run's outputs", downloading),
    "models": Verb(
        "runner.verbs.models:models",
        "models: what a workspace keeps; predict for images, package for a web service",
        modeling,
        "amlrun models list workspace=emulator\n  amlrun models download --name digits --to there workspace=emulator\n"
        "  amlrun models predict last photos/ --top 1  # the run was trained with export.onnx=true\n"
        "  amlrun models package classifier:3 --output service",
    ),
    "env": Verb(
        "runner.verbs.environments:environments",
        "environments of an Azure ML workspace: list them, save one as files that a project can build on",
        keeping_environments,
        "amlrun env list workspace=emulator\n"
        "  amlrun env save environments/acpt env=curated  # then: env=dockerfile env.dockerfile=...",
    ),
    "doctor": Verb(
        "runner.verbs.doctor:doctor",
        "whether this machine, the project and its workspace are ready: a line for each check, and what to do",
        examining,
        "amlrun doctor\n  amlrun doctor compute=gpu-cluster",
    ),
    "emulator": Verb(
        "runner.verbs.emulating:emulator",
        "an Azure ML workspace on this machine, for the unmodified SDK: start, stop, status, reset, env",
        emulating,
        'amlrun emulator start\n  eval "$(amlrun emulator env)"; python any_azureml_script.py\n'
        "  amlrun emulator fail reset-after --path '*/snapshotrun'",
    ),
    "schema": Verb("runner.verbs.schema:schema", "schemas for editors, with this project's options", writing_schemas),
    "completion": Verb(
        "runner.verbs.completion:completion",
        "a script that completes verbs, options and overrides in a shell",
        naming_shell,
        'eval "$(amlrun completion bash)"                # in ~/.bashrc\n'
        '  eval "$(amlrun completion zsh)"                 # in ~/.zshrc, after compinit\n'
        "  amlrun completion fish > ~/.config/fish/completions/amlrun.fish",
    ),
}


def entry() -> None:
    """The `amlrun` command."""
    gc.set_threshold(50_000, 20, 20)  # a short process that makes many objects and few that are garbage: 5 % less CPU
    sys.exit(main(sys.argv[1:]))


def main(argv: Sequence[str]) -> int:
    """Run one command line; returns the exit code. The only place that catches RunnerError."""
    if argv[:1] == ["__complete"]:  # what the scripts of `amlrun completion` ask
        from runner.verbs.completion import answer

        return answer(argv[-1], *build_parser())
    args = parse(argv)
    module, _, name = VERBS[args.verb].do.partition(":")
    try:
        code: int = getattr(importlib.import_module(module), name)(args)
        return code
    except ConfigError as error:
        report_problems(args, error)
        return error.exit_code
    except RunnerError as error:
        complain(f"amlrun: {error}")
        return error.exit_code
    except KeyboardInterrupt:
        return StoppedError.exit_code
    except BrokenPipeError:  # the reader of a pipe (head, less) has left
        sys.stderr.close()
        return 0


def parse(argv: Sequence[str]) -> argparse.Namespace:
    """Overrides and options may be mixed in any order."""
    parser, verbs = build_parser()
    args, rest = parser.parse_known_args(list(argv))
    unknown = [word for word in rest if word.startswith("-") and "=" not in word.split(".")[0]]
    if unknown or (rest and not hasattr(args, "overrides")):
        word = (unknown or rest)[0]
        options = [name for action in verbs[args.verb]._actions for name in action.option_strings]
        close = difflib.get_close_matches(word, options, n=1)
        hint = f"; did you mean '{close[0]}'?" if close else f"; see amlrun {args.verb} --help"
        verbs[args.verb].error(f"unexpected argument '{word}'{hint}")
    if rest:
        args.overrides = [word for word in argv if word in {*args.overrides, *rest}]
    return args


def build_parser() -> tuple[argparse.ArgumentParser, dict[str, argparse.ArgumentParser]]:
    parser = argparse.ArgumentParser(
        prog="amlrun",
        description="Train PyTorch models from YAML: on this machine or on Azure Machine Learning.",
        epilog="amlrun VERB --help explains a verb. Exit codes: 0 done, 2 configuration, 3 code snapshot, "
        "4 target, 5 the run failed, 130 Ctrl-C.",
    )
    parser.add_argument("--version", action=Version, nargs=0, help="show the version and exit")
    subparsers = parser.add_subparsers(dest="verb", required=True, metavar="VERB")
    parser.set_defaults(project=None, json=False, quiet=False)
    common = argparse.ArgumentParser(add_help=False, argument_default=argparse.SUPPRESS)
    for place in (parser, common):  # before the verb or after it
        place.add_argument(
            "--project", type=Path, metavar="DIR", help="the folder with configs/ (default: found upward)"
        )
        place.add_argument("--json", action="store_true", help="machine-readable output")
        place.add_argument("-q", "--quiet", action="store_true", help="only results and errors")
    made = {}
    for name, verb in VERBS.items():
        made[name] = subparsers.add_parser(
            name,
            help=verb.help,
            description=verb.help[0].upper() + verb.help[1:] + ".",
            parents=[common],
            epilog=f"examples:\n  {verb.epilog}" if verb.epilog else None,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        verb.arguments(made[name])
    return parser, made


class Version(argparse.Action):
    """`--version`; importlib.metadata costs 20 ms, so it is asked only here."""

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> None:
        from importlib.metadata import version

        print(f"amlrun {version('amlrun')}")
        parser.exit()


def report_problems(args: argparse.Namespace, error: ConfigError) -> None:
    if args.json:
        import json

        from runner.redact import redact

        print(redact(json.dumps({"problems": [problem.as_json() for problem in error.problems]}, indent=2)))
        return
    for problem in error.problems:
        complain(str(problem) if problem.severity == "error" else f"warning: {problem}")
    count = sum(problem.severity == "error" for problem in error.problems)
    complain(f"amlrun: {count} problem{'s' if count != 1 else ''}; nothing was sent")


def complain(text: str) -> None:
    """To standard error, without secrets: an override or a URL in a message may hold one."""
    from runner.redact import redact

    print(redact(text), file=sys.stderr)
