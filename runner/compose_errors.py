"""What Hydra and PyYAML say about a configuration, in our words: place, what, what to do."""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from runner.errors import Place, Problem
from runner.provenance import find_in_defaults, find_odd_default, find_scalar

FindFile = Callable[[str], "tuple[Path, str] | None"]
RESOLVER = re.compile(r"(?<!\\)\$\{\s*[A-Za-z_][\w.]*\s*:")
IN_FILE = re.compile(r"In '?([^':\n]+?)'?:")
RAISED = re.compile(r"^\w+ raised while composing config:\s*")
YAML_HINTS = {
    "\\t": "indent with spaces, not tabs",
    "another document": "a configuration is one document: remove the '---' between them",
}
OBJECTS = re.compile(r"\s*:? ?\w*\(.*<[\w.]+ object at 0x.*")  # Python's view of an object says nothing to people
NOT_IN_STRUCT = re.compile(r"[Kk]ey '([^']+)' is not in struct")
# What Hydra says of a choice on the command line without saying that it stands there: its words, the choice's prefix,
# our words, what to do.
REFUSED_CHOICES = (
    (r"Could not delete '(.*)'\. No match", "~", "not chosen, so it cannot be left out", ""),
    (r"Could not override '(.+)'\.", "", "not in the defaults list, so there is nothing to replace", "write +{}"),
    (r"force-add of config groups is not supported: '\+\+(.+)'", "++", "'++' sets keys, not choices", "write {}"),
    (r"Multiple values for (.+?)\. To override", "+", "in the defaults list already", "write {}"),
    (r"(.+?) appears more than once in the final defaults list", "+", "in the defaults list already", "write {}"),
    (r"In 'hydra/config': Could not find '(.+?)'", "", "Hydra has no such option", ""),
)


def close_to(word: str, known: Sequence[str]) -> str | None:
    """The known word that `word` was most likely meant to be."""
    found = difflib.get_close_matches(word, known, n=1, cutoff=0.6)
    return found[0] if found else None


def uses_resolver(text: str) -> bool:
    """Whether the text asks a resolver (`${now:}`, `${oc.env:HOME}`), so that its value may differ elsewhere."""
    return RESOLVER.search(text) is not None


def unparsable(text: str, error: Exception) -> Problem:
    if "=" not in text and not text.startswith("~"):
        return at_override(text, "", "not an override: it has no '='", "write key=value")
    hint = "quote values that hold spaces, commas or brackets: 'key=\"a, b\"'"
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    said = first_line(lines[-1] if lines[-1:] and not lines[-1].startswith("See ") else error)
    return at_override(text, "", f"not in Hydra's override grammar: {said}", hint)


def sweep_without_multirun(text: str) -> Problem:
    key, _, value = text.partition("=")
    hint = f"add -m to sweep over it; for a list write {key}=[{value}], for a text \"{key}='{value}'\""
    return at_override(text, key.lstrip("+~"), "several values, but this is a single run", hint)


def unlistable(o: Any, points_of: Callable[[list[Any]], list[list[str]]], *, counts: bool) -> list[Problem]:
    """Why Hydra's sweeper can make no points of the override; one that does not count may have none."""
    text = o.input_line or ""
    if o.is_sweep_override() and not o.is_discrete_sweep():
        return [not_discrete(text)]
    try:
        points = points_of([o])
    except Exception:  # noqa: BLE001 - Hydra raises bare exceptions of several classes on bad input
        return [nested_sweep(text)]
    return [empty_sweep(text)] if counts and not points else []


def empty_sweep(text: str) -> Problem:
    key, _, value = text.partition("=")
    hint = "glob() matches options of a config group only" if "glob(" in value else "range() stops before its end"
    return at_override(text, key, "this sweep has no points", hint)


def not_discrete(text: str) -> Problem:
    key = text.partition("=")[0]
    return at_override(text, key, "an interval has no points to run", "use choice(...) or range(...)")


def nested_sweep(text: str) -> Problem:
    key = text.partition("=")[0]
    return at_override(text, key, "a sweep inside of a value has no points to run", "let it be the whole value")


def unknown_choice(group: str, option: Any, known: Sequence[str], text: str) -> Problem:
    return at_override(text, group, f"no option '{option}' in configs/{group}", choice_hint(str(option), known))


def no_choice(group: str, text: str) -> Problem:
    return at_override(
        text, group, "an option is named by text", f"to leave the group out write ~{text.partition('=')[0]}"
    )


def refused_choice(error: Exception, given: Sequence[str]) -> tuple[Problem, str] | None:
    """Why Hydra refuses one of the choices `given`, and which; None where it speaks of files."""
    for pattern, prefix, message, hint in REFUSED_CHOICES:
        found = re.match(pattern, str(error))
        for text in given if found else ():
            plain = text.lstrip("+~")
            named = (plain, plain.partition("=")[0], plain.replace("=", "/"))
            if found and found[1] in named and text.removesuffix(plain) == prefix:
                return at_override(text, plain.partition("=")[0], message, hint.format(plain)), text
    return None


def drop_unknown_choices(
    groups: Sequence[Any], options: Mapping[str, Sequence[str]]
) -> tuple[list[Any], list[Problem]]:
    """The choices (Hydra's overrides) that may be possible, and what is wrong with the others."""
    kept: list[Any] = []
    problems: list[Problem] = []
    for o in groups:
        value = o.value()
        known = options.get(o.key_or_group, ())
        asked = value if isinstance(value, list) else [value]
        if o.is_delete() and value is not None and not isinstance(value, str):
            problems.append(odd_removal(o.key_or_group, o.input_line or ""))
            continue
        if value is None and not o.is_delete():
            problems.append(no_choice(o.key_or_group, o.input_line or ""))
            continue
        checked = not o.is_delete() and o.key_or_group.split("/")[0] not in ("hydra", "hydra.searchpath")
        bad = [v for v in asked if checked and v is not None and v not in known]
        if bad:
            problems += [unknown_choice(o.key_or_group, v, known, o.input_line or "") for v in bad]
        else:
            kept.append(o)
    return kept, problems


def odd_removal(group: str, text: str) -> Problem:
    return at_override(text, group, "an option to remove is named by text", f"write ~{group}")


def choice_hint(option: str, known: Sequence[str], what: str = "options") -> str:
    meant = close_to(option, known)
    listed = f"{what}: {', '.join(known)}" if known else "the group has no options"
    return f"did you mean '{meant}'? {listed}" if meant else listed


def refused(text: str, key: str, known: Any, error: Exception) -> Problem:
    """A value override that Hydra would not apply."""
    parts = key.split(".")
    index = 0
    while index < len(parts) and (inner := inside(known, parts[index])) is not None:
        known, index = inner[0], index + 1
    if detail(error).startswith("unexpected type annotation"):
        return nested_sweep(text)
    if index == len(parts):
        unknown = NOT_IN_STRUCT.search(detail(error))
        if unknown and isinstance(known, Mapping):
            hint = meant_key([unknown.group(1)], 0, known) or f"to add keys that are not there, write +{text}"
            return at_override(text, key, f"unknown key '{unknown.group(1)}' in its value", hint)
        return at_override(text, key, f"cannot be set: {detail(error)}")
    if not isinstance(known, Mapping):
        parent, count = ".".join(parts[:index]), len(known) if isinstance(known, list) else 0
        what = f"a list of {count}, counted from 0" if isinstance(known, list) else "a value and has no keys"
        return at_override(text, key, f"'{parent}' is {what}", f"set '{parent}' itself")
    if text.startswith("~"):
        return at_override(text, key, "not there, so it cannot be removed", meant_key(parts, index, known))
    return unknown_key(text, parts, index, known)


def unknown_key(text: str, parts: Sequence[str], index: int, known: Mapping[str, Any]) -> Problem:
    """`known` is the mapping that lacks `parts[index]`."""
    added = f"{keys_of(parts[:index], known)}; a new one is added by +{text.lstrip('+')}"
    return at_override(text, ".".join(parts), "unknown key", meant_key(parts, index, known) or added)


def inside(node: Any, name: str) -> tuple[Any] | None:
    """What a mapping or a list has at `name`, None where it has nothing there."""
    if isinstance(node, list) and name.isdecimal() and int(name) < len(node):
        return (node[int(name)],)
    return (node[name],) if isinstance(node, Mapping) and name in node else None


def keys_of(parents: Sequence[str], known: Mapping[str, Any]) -> str:
    names = ", ".join(str(name) for name in known if name != "hydra") or "none"
    return f"keys of '{'.'.join(parents)}': {names}" if parents else f"keys here: {names}"


def meant_key(parts: Sequence[str], index: int, known: Mapping[str, Any]) -> str:
    meant = close_to(parts[index], [str(name) for name in known])
    return f"did you mean '{'.'.join([*parts[:index], meant, *parts[index + 1 :]])}'?" if meant else ""


def unresolvable(place: Place, path: str, error: Exception) -> Problem:
    return Problem(place, path, f"cannot be resolved: {first_line(error)}", "check the ${...} in its value")


def explain(
    error: Exception, find: FindFile, options: Mapping[str, Sequence[str]], chosen: Sequence[tuple[Path, str]] = ()
) -> tuple[Problem, str | None]:
    """Why the files do not compose, and (where one helps) an override with which composing can go on.

    `chosen` are files (with their names) whose defaults lists may hold the wrong choice.
    """
    if isinstance(error, yaml.MarkedYAMLError):
        return yaml_error(error, find), None
    if isinstance(error, (RecursionError, AssertionError)):
        return circle(error, chosen), None
    missing = getattr(error, "missing_cfg_file", None)
    if missing:
        return missing_choice(str(missing), str(error), find, options, chosen)
    text = str(error)
    inside = IN_FILE.match(text)
    found = find(inside.group(1)) if inside else None
    if not inside or not found:
        return Problem(search(detail(error), chosen), "", detail(error)), None
    text = text[inside.end() :]
    wanted = re.search(r"override '([^']+)'", text)
    group = wanted.group(1).partition("@")[0] if wanted else ""
    odd = find_odd_default(*found) if "default item" in text else None
    place = odd or (find_in_defaults(*found, group) if wanted else None) or Place(found[1], 1, 1)
    if wanted and "No match in the defaults list" in text:
        last = group.rpartition("/")[2]
        absolute = f"write 'override /{last}'" if last != group and last in options else ""
        hint = absolute or choice_hint(group, list(options), "groups")
        return Problem(place, group, "no such config group to override", hint), None
    return Problem(place, "", first_line(RAISED.sub("", text.strip()))), None


def circle(error: Exception, files: Sequence[tuple[Path, str]]) -> Problem:
    """A file whose defaults list leads back to it; else what a bare `assert` of Hydra's or endless nesting means."""
    for path, name in files:
        itself = find_in_defaults(path, name, path.stem)
        if itself is not None:
            return Problem(itself, "", f"'{path.stem}' would include itself", "remove this line")
    place = Place(files[0][1], 1, 1) if files else config_place()
    if isinstance(error, AssertionError):
        return Problem(place, "", "Hydra cannot follow this defaults list", "simplify it")
    return Problem(place, "", "nested too deeply", "reduce the nesting of the YAML")


def search(text: str, files: Sequence[tuple[Path, str]]) -> Place:
    """The likely place of an error that names none: in a file that it names, a defaults list, or a `${...}`."""
    named = [file for file in files if file[0].stem in text] or list(files)
    if "defaults" in text:
        return next((p for file in named if (p := find_odd_default(*file)) is not None), config_place())
    quoted = re.search(r"(?:input|at:?) '(.+?)'", text)
    for wanted in ([quoted.group(1)] if quoted else []) + ["${"]:
        for path, name in files:
            place = find_scalar(path, name, wanted)
            if place is not None:
                return place
    return Place(named[0][1], 1, 1) if len(named) == 1 else config_place()


def undecodable(files: Iterable[Path], name: Callable[[Path], str]) -> Problem:
    """A file that is not UTF-8: the error itself does not say which."""
    for path in files:
        content = path.read_bytes()
        try:
            content.decode("utf-8")
        except UnicodeDecodeError as error:
            before = content[: error.start].replace(b"\r\n", b"\n").replace(b"\r", b"\n")
            line, column = before.count(b"\n") + 1, len(before) - before.rfind(b"\n")
            return Problem(Place(name(path), line, column), "", "not UTF-8 text", "save the file as UTF-8")
    return Problem(config_place(), "", "a file here is not UTF-8 text", "save it as UTF-8")


def yaml_error(error: yaml.MarkedYAMLError, find: FindFile) -> Problem:
    mark = error.problem_mark or error.context_mark
    what = error.problem or error.context or "not valid YAML"
    if mark is None:
        return Problem(config_place(), "", what)
    place = Place(find_by_path(mark.name, find), mark.line + 1, mark.column + 1)
    conflict = conflict_line(mark.name)
    if conflict:
        hint = "resolve the merge conflict in this file"
        return Problem(Place(place.source, conflict, 1), "", "not valid YAML: a merge conflict marker", hint)
    hint = next((hint for said, hint in YAML_HINTS.items() if said in what), "")
    return Problem(place, "", f"not valid YAML: {what}", hint)


def conflict_line(path: str) -> int | None:
    """The line of the first merge conflict marker, None where there is none."""
    try:
        lines = Path(path).read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return None
    return next((number for number, line in enumerate(lines, 1) if line.startswith(("<<<<<<< ", ">>>>>>> "))), None)


def find_by_path(path: str, find: FindFile) -> str:
    parts = Path(path).with_suffix("").parts
    for start in range(len(parts) - 1, -1, -1):
        found = find("/".join(parts[start:]))
        if found and found[0].resolve() == Path(path).resolve():
            return found[1]
    return path


def missing_choice(
    missing: str,
    text: str,
    find: FindFile,
    options: Mapping[str, Sequence[str]],
    chosen: Sequence[tuple[Path, str]],
) -> tuple[Problem, str | None]:
    group, _, option = missing.rpartition("/")
    known = options.get(group, ())
    if missing == "config":
        return Problem(Place("configs/config.yaml"), "", "not found", "a project has its defaults list there"), None
    inside = IN_FILE.match(text)
    parent = find(inside.group(1)) if inside else None
    places = [find_in_defaults(*file, missing) for file in (*chosen, *([parent] if parent else []))]
    place = next((found for found in places if found is not None), config_place())
    if known:
        problem = Problem(place, group, f"no option '{option}' in configs/{group}", choice_hint(option, known))
        return problem, f"{group}={close_to(option, known) or known[0]}"
    if group:
        return Problem(place, group, "no such config group", choice_hint(group, list(options), "groups")), None
    return Problem(place, "", f"no file configs/{missing}.yaml"), None


def hydra_warning(text: str, find: FindFile) -> Problem:
    inside = IN_FILE.match(text)
    found = find(inside.group(1)) if inside else None
    place = Place(found[1], 1, 1) if found else config_place()
    return Problem(place, "", first_line(text[inside.end() :] if inside else text), severity="warning")


def at_override(text: str, path: str, message: str, hint: str = "") -> Problem:
    return Problem(Place.of_override(text), path, message, hint)


def config_place() -> Place:
    return Place("configs/config.yaml", 1, 1)


def detail(error: Exception) -> str:
    """The message of the innermost cause: Hydra's outer one only says that something failed."""
    inner: BaseException = error
    while inner.__cause__ is not None:
        inner = inner.__cause__
    return first_line(inner)


def first_line(error: BaseException | str) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    text = OBJECTS.sub("", lines[0]) if lines else type(error).__name__
    return text[0].lower() + text[1:] if text[:2].istitle() else text
