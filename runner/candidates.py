"""What could stand at the end of a command line: verbs, options, runs, and Hydra overrides as this project has them.

Asked by the shell at every press of a key, so it reads YAML itself: importing Hydra takes longer than people wait.
"""

from __future__ import annotations

import argparse
import itertools
import json
import re
import shlex
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from runner import history
from runner.choices import first_comment, group_options, read_yaml
from runner.errors import RunnerError
from runner.project import find_project
from runner.schema_check import partial, subschema
from runner.spec import State

PREFIX = re.compile(r"(\+\+|\+|~)?")
IN_DEFAULTS = re.compile(r"^(override |optional )*/?")

# What follows these actions of `models` are a model and images, before overrides.
WITH_FILES = ("predict", "package")

Verbs = Mapping[str, argparse.ArgumentParser]
Candidate = tuple[str, str]  # the whole word, and what it means


@dataclass(frozen=True, slots=True)
class Line:
    """A command line up to the cursor: whole words after the program's name, and the word being typed."""

    words: tuple[str, ...]
    current: str


def split(line: str) -> Line:
    """As a shell would; an open quote is taken as closed at the cursor."""
    for closing in ("", "'", '"'):
        try:
            words = shlex.split(line + closing)
            break
        except ValueError:
            continue
    else:
        words = line.split()
    typing = words.pop() if words and not line[-1:].isspace() else ""
    return Line(tuple(words[1:]), typing)


def candidates(line: Line, parser: argparse.ArgumentParser, verbs: Verbs) -> list[Candidate]:
    """Everything that fits, sorted; the shell need not filter."""
    number = next((n for n, word in enumerate(line.words) if word in verbs), None)
    asked = parser if number is None else verbs[line.words[number]]
    words = line.words if number is None else line.words[number + 1 :]
    option = takes_value(asked, words[-1] if words else "")
    name, equals, value = line.current.partition("=")
    if option is not None:
        found = values(option, words, line.current)
    elif equals and (option := takes_value(asked, name)) is not None:
        found = ((f"{name}={text}", meaning) for text, meaning in values(option, words, value))
    elif line.current.startswith("-"):
        found = ((text, action.help or "") for action in asked._actions for text in action.option_strings)
    elif number is None:
        found = ((verb, made.description or "") for verb, made in verbs.items())
    else:
        found = positional(asked, words, line.current)
    return sorted({text: (text, meaning) for text, meaning in found if text.startswith(line.current)}.values())


def takes_value(parser: argparse.ArgumentParser, word: str) -> argparse.Action | None:
    """The option of that name, if a value follows it."""
    return next((a for a in parser._actions if word in a.option_strings and a.nargs != 0), None)


def positional(parser: argparse.ArgumentParser, words: Sequence[str], current: str) -> Iterator[Candidate]:
    """For the argument whose turn it is; the last one takes all that follow, if it takes several."""
    taking = [action for action in parser._actions if not action.option_strings]
    given = [w for i, w in enumerate(words) if w[:1] != "-" and takes_value(parser, words[i - 1] if i else "") is None]
    if taking and (len(given) < len(taking) or taking[-1].nargs in ("*", "+")):
        yield from values(taking[min(len(given), len(taking) - 1)], words, current)


def values(action: argparse.Action, words: Sequence[str], current: str) -> Iterator[Candidate]:
    if action.choices:
        yield from ((str(choice), "") for choice in action.choices)
    elif action.dest in VALUES:
        yield from VALUES[action.dest](words, current)


def runs(words: Sequence[str], _current: str) -> Iterator[Candidate]:
    project = project_of(words)
    yield from [("last", "the newest run")] if project else []
    yield from ((name, "") for name in (history.run_ids(project) if project else ()))


def states(_words: Sequence[str], _current: str) -> Iterator[Candidate]:
    yield from ((state.value, "") for state in State)


def folders(_words: Sequence[str], current: str) -> Iterator[Candidate]:
    yield from (found for found in files((), current) if found[0].endswith("/"))


def files(_words: Sequence[str], current: str) -> Iterator[Candidate]:
    typed = current[: current.rfind("/") + 1]
    folder = Path(typed or ".").expanduser()
    for path in sorted(folder.iterdir()) if folder.is_dir() else ():
        if not path.name.startswith("."):
            yield f"{typed}{path.name}{'/' * path.is_dir()}", ""


def overrides(words: Sequence[str], current: str) -> Iterator[Candidate]:
    """`group=option`, `key=value`, or the next part of a key; Hydra's prefixes +, ++ and ~ are kept."""
    if next((word for word in words if word[:1] != "-"), None) in WITH_FILES:
        yield from itertools.chain(runs(words, current), files(words, current))
    project = project_of(words)
    if project is None:
        return
    prefix = PREFIX.match(current)[0]  # type: ignore[index] # it matches nothing, too
    key, equals, value = current[len(prefix) :].partition("=")
    if equals:
        before = value[: value.rfind(",") + 1]
        found = values_of(key, project)
        yield from ((f"{prefix}{key}={before}{text}", meaning) for text, meaning in found)
    else:
        removing = prefix == "~"  # takes the key alone
        for text, meaning in keys(key, words, project):
            yield prefix + (text.rstrip("=") if removing else text), meaning


VALUES: Mapping[str, Callable[[Sequence[str], str], Iterator[Candidate]]] = {
    **dict.fromkeys(("run", "runs", "old", "new", "diff"), runs),
    **dict.fromkeys(("project", "write", "to", "output"), folders),
    **dict.fromkeys(("lock", "locked", "folder", "file", "path"), files),
    "state": states,
    "overrides": overrides,
}


def project_of(words: Sequence[str]) -> Path | None:
    named = next((Path(words[i + 1]) for i, word in enumerate(words[:-1]) if word == "--project"), None)
    try:
        return find_project(named, Path.cwd())
    except RunnerError:
        return None


def values_of(key: str, project: Path) -> Iterator[Candidate]:
    """Options of a group; else what the schema lists for a key."""
    options = group_options(project).get(key.partition("@")[0].lstrip("/"))
    if options is not None:
        yield from ((option, first_comment(file)) for option, file in options.items())
        return
    schema = schema_of(key, project)
    for each in (schema, *schema.get("anyOf", ()), *schema.get("oneOf", ())):
        listed = [*each.get("enum", ()), *([each["const"]] if "const" in each else ())]
        yield from ((text_of(value), "") for value in listed)
        if "boolean" in each.get("type", ()):
            yield from (("false", ""), ("true", ""))


def keys(typed: str, words: Sequence[str], project: Path) -> Iterator[Candidate]:
    """The next part of the key: groups and keys that are values end in '=', mappings in '.'."""
    parent, dot, _ = typed.rpartition(".")
    here: Any = configuration(words, project)
    for name in parent.split(".") if parent else ():
        here = here.get(name) if isinstance(here, Mapping) else None
    if not parent:
        yield from ((f"{group}=", ", ".join(found)) for group, found in group_options(project).items())
    for name, value in here.items() if isinstance(here, Mapping) else ():
        path = f"{parent}{dot}{name}"
        end = "." if isinstance(value, Mapping) and value else "="
        yield path + end, str(schema_of(path, project).get("description", ""))


def configuration(words: Sequence[str], project: Path) -> dict[str, Any]:
    """Roughly what Hydra would compose for the words typed so far: good enough to know which keys there are."""
    config = read_yaml(project / "configs" / "config.yaml")
    groups = group_options(project)
    typed = {key: value for key, _, value in (word.partition("=") for word in words) if key in groups}
    file = groups.get("experiment", {}).get(typed.get("experiment", ""))
    experiment = read_yaml(file) if file else {}
    chosen = {**defaults(config), **defaults(experiment), **typed}
    found: dict[str, Any] = {}
    for group, option in chosen.items():
        if group != "experiment" and option in groups.get(group, {}):
            merge(found, {group: read_yaml(groups[group][option])})
    for values_here in (config, experiment):
        merge(found, {key: value for key, value in values_here.items() if key not in ("defaults", "hydra")})
    return found


def defaults(values_here: Mapping[str, Any]) -> dict[str, str]:
    listed = values_here.get("defaults") or []
    lines = [item for item in listed if isinstance(item, Mapping)] if isinstance(listed, list) else []
    return {IN_DEFAULTS.sub("", str(group)): str(option) for item in lines for group, option in item.items()}


def merge(into: dict[str, Any], more: Mapping[str, Any]) -> None:
    for key, value in more.items():
        old = into.get(str(key))
        if isinstance(old, dict) and isinstance(value, Mapping):
            merge(old, value)
        elif not isinstance(old, dict) or value is not None:  # `sweep: null` in config.yaml hides no chosen sweep
            into[str(key)] = value


def schema_of(path: str, project: Path) -> Mapping[str, Any]:
    """The schema of one key, {} where there is none."""
    *parent, name = path.split(".")
    found: Any = partial(subschema(tuple(parent), project / "schemas")).get("properties", {})
    return found.get(name, {}) if isinstance(found, Mapping) and isinstance(found.get(name, {}), Mapping) else {}


def text_of(value: Any) -> str:
    return json.dumps(value) if value is None or isinstance(value, bool) else str(value)
