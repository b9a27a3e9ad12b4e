"""What runs: it exists, lies inside the root, and its arguments arrive as they were written."""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from runner.finding import Finding, error, meant, show, warning
from runner.paths import is_file, is_folder, is_there, listed, resolved
from runner.resources import packaged
from runner.rules.read import part
from runner.sources import find_module

# The tutorial of 2020 relies on them; no current page documents them, and an unset one arrives empty.
MODERN = {
    "AZ_BATCHAI_PYTORCH_INIT_METHOD": "env:// or tcp://$MASTER_ADDR:$MASTER_PORT",
    "AZ_BATCHAI_TASK_INDEX": "$RANK under distribution=pytorch, $OMPI_COMM_WORLD_RANK under mpi",
    "AZ_BATCHAI_MPI_MASTER_NODE": "$AZ_BATCH_MASTER_NODE on several nodes",
    "AZ_BATCHAI_GPU_COUNT": "torch.cuda.device_count()",
}


def one_of_script_and_command(values: Mapping[str, Any], _project: Path) -> Iterator[Finding]:
    code = part(values, "code")
    if code.get("script") and code.get("command"):
        yield error("code.command", "code.script is set too, and only one of them can run", "set one of them to null")
    if not any(code.get(key) for key in ("script", "command", "module")) and {"script", "command", "module"} <= set(
        code
    ):
        yield error("code", "nothing to run", "set code.module, code.script or code.command")


def root(values: Mapping[str, Any], project: Path) -> Iterator[Finding]:
    name = part(values, "code").get("root")
    if name is not None and not is_folder(project / name):
        message = f"{show(name)} is a file" if is_there(name, project) else f"no folder {show(name)}"
        yield error("code.root", message, "it is relative to the project")


def module(values: Mapping[str, Any], project: Path) -> Iterator[Finding]:
    code = part(values, "code")
    name, folder = code.get("module"), project / str(code.get("root", "."))
    if not name or code.get("script") or code.get("command") or not is_folder(folder):
        return
    found = find_module(name, (folder, packaged("train").parent) if name.startswith("train") else (folder,))
    if found is None:
        if "." not in name and importlib.util.find_spec(name) is not None:
            return
        there = [p.stem for p in listed(folder, "*.py")] + [p.parent.name for p in listed(folder, "*/__init__.py")]
        hint = meant(name, {*there, "train"}) or "it is looked for under code.root"
        say = warning if "." in name else error
        yield say("code.module", f"no module {show(name)}", hint)
    elif found.file.name == "__init__.py" and not is_file(found.file.with_name("__main__.py")):
        yield error("code.module", f"{show(name)} is a package without __main__.py", "add one, or name a module in it")


def script(values: Mapping[str, Any], project: Path) -> Iterator[Finding]:
    code = part(values, "code")
    name, folder = code.get("script"), resolved(project / str(code.get("root", ".")))
    if not name or not is_folder(folder):
        return
    path = resolved(folder / name)
    if Path(name).is_absolute() or not path.is_relative_to(folder):
        yield error("code.script", f"{show(name)} is outside of code.root, so it would not travel", "move it inside")
    elif is_folder(path):
        yield error("code.script", f"{show(name)} is a folder", "name a Python file")
    elif not is_file(path):
        there = [p.stem for p in listed(path.parent, "*.py")]
        close = meant(path.stem, there).replace("'?", ".py'?")
        yield error("code.script", f"no file {show(name)}", close or "it is looked for under code.root")
    elif path.suffix != ".py":
        yield warning("code.script", f"{show(name)} is run by Python and is no .py file", "use code.command")


def arguments(values: Mapping[str, Any], _project: Path) -> Iterator[Finding]:
    code = part(values, "code")
    given = code.get("arguments")
    if given and not code.get("script") and not code.get("command"):
        yield warning("code.arguments", "code.module gets overrides, not arguments", "use overrides, or code.script")
    if isinstance(given, list):
        for index, item in enumerate(given):
            if item is None or isinstance(item, (bool, dict, list)):
                hint = "use a mapping for flags and lists" if not isinstance(item, dict) else "write text or a number"
                if isinstance(item, bool):
                    hint = f"quote it: '{item}', or use a mapping for flags"
                yield error(f"code.arguments.{index}", f"{show(item)} is not text or a number", hint)
    for key, value in given.items() if isinstance(given, dict) else ():
        items = value if isinstance(value, list) else [value]
        bad = [item for item in items if isinstance(item, (dict, list)) or (value is items and not scalar(item))]
        if bad:
            yield error(f"code.arguments.{key}", f"{show(bad[0])} cannot be an argument", "write text or numbers")


def quoting(values: Mapping[str, Any], _project: Path) -> Iterator[Finding]:
    """Words are as they are written: no shell splits or unquotes them; Azure alone expands a script's arguments."""
    code = part(values, "code")
    for key in ("command", "arguments"):
        given = code.get(key)
        for path, text in leaves(given, f"code.{key}") if isinstance(given, (list, dict)) else ():
            several = isinstance(given, list) and re.match(r"--?[A-Za-z][\w-]*\s+\S", text)
            if re.fullmatch(r"""(['"]).*\1""", text, re.S):
                yield warning(path, f"the quotes of {show(text)} would be part of it", "quote for YAML only")
            elif several or (path == "code.command.0" and " " in text.strip()):
                words = ", ".join(text.split())
                yield warning(path, f"{show(text)} is one word of a list, spaces and all", f"split it: {words}")
            elif re.search(r"\$\{?[A-Za-z_]", text) and not any(name in text for name in MODERN):
                yield dollar(path, text, script=bool(code.get("script")))


def dollar(path: str, text: str, *, script: bool) -> Finding:
    if not script:
        return warning(path, f"{show(text)} is expanded by no shell", "write code.command as one line for bash")
    hint = "list words in code.command to keep the text, or write it as one line for bash to expand it"
    return warning(path, f"{show(text)} is expanded by Azure, and by no shell here", hint)


def scalar(value: Any) -> bool:
    return isinstance(value, (str, int, float)) and not isinstance(value, bool)


def batchai(values: Mapping[str, Any], _project: Path) -> Iterator[Finding]:
    code = part(values, "code")
    places = [*leaves(code.get("arguments"), "code.arguments"), *leaves(code.get("command"), "code.command")]
    places += leaves(part(values, "env").get("variables"), "env.variables")
    here = part(values, "compute").get("kind") == "local"
    for path, text in places:
        for name, modern in MODERN.items():
            if name in text and here:
                yield warning(path, f"{name} is set on Azure only", "choose a compute on Azure")
            elif name in text:
                yield warning(path, f"{name} is in no current documentation of Azure", f"use {modern}")


def leaves(value: Any, path: str) -> list[tuple[str, str]]:
    """(path, text) of every string below `value`."""
    if isinstance(value, str):
        return [(path, value)]
    items = value.items() if isinstance(value, Mapping) else enumerate(value) if isinstance(value, list) else ()
    return [found for key, item in items for found in leaves(item, f"{path}.{key}")]
