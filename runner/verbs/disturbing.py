"""emulator requests, fail, latency, repeat, preempt, advance, script: what a running emulator does to its clients."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from runner.emulator import instance
from runner.emulator.instance import EmulatorError


def requests(args: argparse.Namespace, folder: Path) -> int:
    """What was asked lately, oldest first; `--path` and `--status` select."""
    asked = {"path": args.path, "status": args.status, "method": args.method}
    query = urlencode({name: value for name, value in asked.items() if value is not None})
    answer = instance.ask(folder, f"requests?{query}")
    if args.json:
        print(json.dumps(answer, indent=2))
        return 0
    for seen in answer["requests"]:
        fault = f"  ({seen['fault']})" if "fault" in seen else ""
        took = f"{seen['status']:3} {seen['seconds']:8.4f} s"
        print(f"{seen['time'][11:23]} {took} {seen['method']:6} {seen['path']}{fault}")
    return 0


def fail(args: argparse.Namespace, folder: Path) -> int:
    """KIND: the next requests fail so; `none`: no more; without either: what is still to fail."""
    if args.what is None:
        return shown(args, instance.ask(folder, "faults"))
    if args.what == "none":
        return shown(args, instance.ask(folder, "clear-faults", {}))
    asked = {"kind": args.what, "path": args.path, "method": args.method, "count": args.count, "seconds": args.seconds}
    instance.ask(folder, "fail-next", {name: value for name, value in asked.items() if value is not None})
    return shown(args, instance.ask(folder, "faults"))


def latency(args: argparse.Namespace, folder: Path) -> int:
    """SECONDS or LEAST-MOST; every request takes so much longer."""
    least, _, most = needed(args, "SECONDS or LEAST-MOST").partition("-")
    body = {"least": number(least), "most": number(most or least)}
    return shown(args, instance.ask(folder, "latency", body))


def repeat(args: argparse.Namespace, folder: Path) -> int:
    """accept, 409 or merge: the answer to a run id that is sent again."""
    return shown(args, instance.ask(folder, "repeat", {"answer": needed(args, "accept, 409 or merge")}))


def preempt(args: argparse.Namespace, folder: Path) -> int:
    """RUN, or with `--node` CLUSTER-N: what is on it is told to end, and killed after `--seconds`."""
    name = needed(args, "RUN or CLUSTER-N")
    kind = "node" if args.node else "run"
    grace = {} if args.seconds is None else {"grace": args.seconds}
    answer = instance.ask(folder, "preempt", {kind: name, **grace})
    return told(args, answer, f"preempting {answer['run']}")


def advance(args: argparse.Namespace, folder: Path) -> int:
    """SECONDS of the virtual clock at once; without them, until every run has ended."""
    answer = instance.ask(folder, "advance", {} if args.what is None else {"seconds": number(args.what)})
    return told(args, answer, f"clock {answer['clock']:g} s, {answer['done']} steps, {answer['going']} runs go on")


def script(args: argparse.Namespace, folder: Path) -> int:
    """JSON: what runs do from now on; without it, what they do now."""
    try:
        body = {} if args.what is None else {"script": json.loads(args.what)}
    except ValueError as error:
        raise EmulatorError(f"the script is no JSON: {error}") from None
    speed = {} if args.speed is None else {"speed": args.speed}
    print(json.dumps(instance.ask(folder, "script", {**body, **speed}), indent=2))
    return 0


def told(args: argparse.Namespace, answer: Mapping[str, Any], text: str) -> int:
    """The answer for programs, or a line for people."""
    if args.json:
        print(json.dumps(answer, indent=2))
    elif not args.quiet:
        print(text)
    return 0


def number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise EmulatorError(f"'{text}' is no number of seconds; e.g. 0.2") from None


def shown(args: argparse.Namespace, state: Mapping[str, Any]) -> int:
    """What is set now."""
    if args.json:
        print(json.dumps(state, indent=2))
        return 0
    for fault in state["faults"]:
        method = "any" if fault["method"] == "*" else fault["method"]
        print(f"{fault['kind']:12} {fault['left']} more, {method} {fault['path']}, {fault['seconds']:g} s")
    least, most = state["latency"]
    print(f"latency {least:g} to {most:g} s; a run id that is sent again: {state['repeat']}")
    return 0


def needed(args: argparse.Namespace, what: str) -> str:
    if args.what is None:
        raise EmulatorError(f"'amlrun emulator {args.action}' needs {what}")
    return str(args.what)


ACTIONS: Mapping[str, Callable[[argparse.Namespace, Path], int]] = {
    "requests": requests,
    "fail": fail,
    "latency": latency,
    "repeat": repeat,
    "preempt": preempt,
    "advance": advance,
    "script": script,
}
