"""emulator start, stop, status, reset, env, and what disturbs its clients: the Azure ML workspace on this machine."""

from __future__ import annotations

import argparse
import json
import os
import shlex
import shutil
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

from runner.emulator import instance
from runner.emulator.instance import EmulatorError, Settings
from runner.errors import ConfigError, TargetError
from runner.project import find_project
from runner.verbs import disturbing

NO_PROXY = "127.0.0.1,localhost"


def emulator(args: argparse.Namespace) -> int:
    """Dispatch to the verb under `amlrun emulator`."""
    try:
        return ACTIONS[args.action](args, folder_of(args))
    except EmulatorError as error:
        raise TargetError(str(error)) from None


def start(args: argparse.Namespace, folder: Path) -> int:
    settings = Settings(folder, args.port, interpreter(args.python), args.idle_minutes, args.execution)
    if args.foreground:
        print(f"serving '{folder}' until Ctrl-C")
        instance.serve(settings)
        return 0
    running, new = instance.start(settings)
    page = instance.ask(folder, "status")["page"]
    if args.json:
        record = {"origin": running.origin, "page": page, "dir": str(folder), "pid": running.pid, "started": new}
        print(json.dumps(record))
    elif not args.quiet:
        print(f"emulator {'started' if new else 'runs already'} at {running.origin}, state in '{folder}'")
        print(f"look at it: {page}")
        print(f'use it:  eval "$(amlrun emulator env --dir {shlex.quote(str(folder))})"')
    return 0


def stop(args: argparse.Namespace, folder: Path) -> int:
    stopped = instance.stop(folder)
    if not args.quiet:
        print(f"emulator of '{folder}' stopped" if stopped else f"no emulator serves '{folder}'")
    return 0


def status(args: argparse.Namespace, folder: Path) -> int:
    running = instance.running(folder)
    record = {"running": running is not None, "dir": str(folder)}
    if running is not None:
        record |= {"pid": running.pid, **instance.ask(folder, "status")}
    if args.json:
        print(json.dumps(record, indent=2))
    elif running is None:
        print(f"no emulator serves '{folder}'")
    else:
        for name, value in record.items():
            print(f"{name:12} {value if isinstance(value, str | int) else json.dumps(value)}")
    return 0


def reset(args: argparse.Namespace, folder: Path) -> int:
    instance.ask(folder, "reset", {})
    if not args.quiet:
        print(f"emulator of '{folder}' is empty again")
    return 0


def env(args: argparse.Namespace, folder: Path) -> int:
    """Export lines for a shell; what a person should know goes to standard error."""
    variables = {**instance.variables(folder), instance.FOLDER_VARIABLE: str(folder)}
    config, written = (
        instance.workspace_for(folder, Path.cwd()) if not args.no_config else (folder / "config.json", False)
    )
    proxies = {name: joined(os.environ.get(name)) for name in ("NO_PROXY", "no_proxy")}
    if args.json:
        # `ca` alone makes a client three times cheaper per request than the bundle, where no other host is asked.
        record = {"variables": {**variables, **proxies}, "config": str(config), "ca": str(folder / "ca.pem")}
        print(json.dumps(record, indent=2))
        return 0
    for name, value in {**variables, **proxies}.items():
        print(f"export {name}={shlex.quote(value)}")
    if not args.quiet:
        verb = "wrote" if written else "Workspace.from_config() reads"
        print(f"amlrun: {verb} '{config}'", file=sys.stderr)
    return 0


def joined(value: str | None) -> str:
    """This machine's own addresses must not go through a proxy."""
    return value if value and NO_PROXY in value else ",".join(filter(None, (NO_PROXY, value)))


ACTIONS: Mapping[str, Callable[[argparse.Namespace, Path], int]] = {
    "start": start,
    "stop": stop,
    "status": status,
    "reset": reset,
    "env": env,
    **disturbing.ACTIONS,
}


def folder_of(args: argparse.Namespace) -> Path:
    """--dir, else what this shell was told, else `.runs/emulator` of the project, else a folder of the user's."""
    if args.dir is not None:
        return Path(args.dir).resolve()
    try:
        return instance.folder_or(find_project(args.project, Path.cwd()).resolve() / ".runs" / "emulator")
    except ConfigError:
        if args.project is not None:
            raise
        state = os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state"
        return instance.folder_or(Path(state) / "amlrun" / "emulator")


def interpreter(name: str | None) -> str:
    """The jobs' Python, absolute and with its links kept: a virtual environment is found by the link's place."""
    found = sys.executable if name is None else shutil.which(name)
    if found is None:
        raise EmulatorError(f"'{name}' is no program; name the interpreter of the jobs with --python")
    return str(Path(found).absolute())
