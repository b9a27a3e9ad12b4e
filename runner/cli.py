"""The command line: argv to one verb. Nothing heavy is imported before the verb is known, so `--help` is quick."""

from __future__ import annotations

import argparse
import difflib
import importlib
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from runner.errors import ConfigError, RunnerError, StoppedError

OVERRIDES_HELP = "Hydra overrides: group=option, key=value, +new=value, ~gone"
RUN_HELP = "a run: its id (or the start of it), its URL, or 'last'"


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


def running(parser: argparse.ArgumentParser) -> None:
    checking(parser)
    parser.add_argument("-d", "--detach", action="store_true", help="return after submission, with the run's URL")


def one_run(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("run", nargs="?", default="last", help=f"{RUN_HELP} (default: last)")


def reading_logs(parser: argparse.ArgumentParser) -> None:
    one_run(parser)
    parser.add_argument("--rank", type=int, help="only this rank's log")
    parser.add_argument("-f", "--follow", action="store_true", help="go on until the run ends")


def cancelling(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("runs", nargs="+", metavar="run", help=RUN_HELP)


def downloading(parser: argparse.ArgumentParser) -> None:
    one_run(parser)
    parser.add_argument("--to", type=Path, metavar="DIR", help="folder to write to (default: ./RUN)")


def listing(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("-n", "--count", type=int, default=20, help="how many, newest first (default: 20)")
    parser.add_argument("--state", help="only runs in this state: running, completed, failed, canceled, ...")


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
    "plan": Verb("runner.verbs.composing:plan", "show what would be sent, without sending it", checking),
    "config": Verb("runner.verbs.composing:config", "the composed YAML, each value with what set it", composing),
    "list": Verb("runner.verbs.past:list_", "runs, newest first", listing),
    "show": Verb("runner.verbs.past:show", "one run: state, metrics, configuration, paths", one_run),
    "watch": Verb("runner.verbs.past:watch", "follow a run that was submitted before", one_run),
    "logs": Verb("runner.verbs.past:logs", "the logs of a run's ranks", reading_logs),
    "cancel": Verb("runner.verbs.past:cancel", "stop runs", cancelling),
    "download": Verb("runner.verbs.past:download", "copy a run's outputs", downloading),
}


def entry() -> None:
    """The `amlrun` command."""
    sys.exit(main(sys.argv[1:]))


def main(argv: Sequence[str]) -> int:
    """Run one command line; returns the exit code. The only place that catches RunnerError."""
    args = parse(argv)
    module, _, name = VERBS[args.verb].do.partition(":")
    try:
        code: int = getattr(importlib.import_module(module), name)(args)
        return code
    except ConfigError as error:
        report_problems(args, error)
        return error.exit_code
    except RunnerError as error:
        print(f"amlrun: {error}" if str(error) else "", file=sys.stderr)
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

        print(json.dumps({"problems": [problem.as_json() for problem in error.problems]}, indent=2))
        return
    for problem in error.problems:
        print(problem if problem.severity == "error" else f"warning: {problem}", file=sys.stderr)
    count = sum(problem.severity == "error" for problem in error.problems)
    print(f"amlrun: {count} problem{'s' if count != 1 else ''}; nothing was sent", file=sys.stderr)
