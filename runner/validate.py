"""Config to Job: JSON Schema, then rules; every problem of every configuration at once.

Each distinct part of the configurations is checked once, so that a sweep costs little more than one point.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from operator import itemgetter
from pathlib import Path
from typing import Any

from runner import valid_parts
from runner.errors import ConfigError, Problem
from runner.finding import Finding
from runner.rules import RULES, Rule
from runner.schema_check import MISSING, absent_top, check_part, unknown_top
from runner.spec import Code, Config, Distribution, Job
from runner.valid_parts import ValidParts

RULES_BY_KEYS: dict[tuple[str, ...], list[tuple[int, Rule]]] = {}
for _number, _rule in enumerate(RULES):
    RULES_BY_KEYS.setdefault(_rule.keys, []).append((_number, _rule))


def validate(configs: Sequence[Config], *, strict: bool = False) -> tuple[list[Job], list[Problem]]:
    """One Job for each configuration, in order, and the warnings.

    Raises ConfigError with all problems of all configurations, each shown once, if one of them is an error; with
    `strict` a warning is enough.
    """
    memory: dict[Path, Memory] = {}
    problems: list[Problem] = []
    for config in configs:
        if config.project not in memory:
            schemas = config.project / "schemas"
            memory[config.project] = Memory(schemas, valid_parts.load(schemas))
        problems += check(config, memory[config.project])
    for each in memory.values():
        each.valid.save()
    unique = sorted(dict.fromkeys(problems), key=order)
    if any(strict or problem.severity == "error" for problem in unique):
        raise ConfigError(unique)
    roots: dict[Path, Path] = {}
    return [make_job(config, roots) for config in configs], unique


@dataclass
class Memory:
    """What is known of a project's parts: a part is the JSON of one top-level key, numbered in order of appearance.

    `seen` has the numbers by the parts themselves, which points of a sweep share (and which are kept, so that their
    `id` stays theirs); `tops` has what is wrong with a set of top-level keys; `valid` is what earlier commands found.
    """

    schemas: Path
    valid: ValidParts
    seen: dict[tuple[str, int], tuple[Any, int]] = field(default_factory=dict)
    tops: dict[tuple[str, ...], tuple[list[Finding], list[Finding]]] = field(default_factory=dict)
    numbers: dict[tuple[str, str], int] = field(default_factory=dict)
    parts: list[tuple[Any, list[Finding]]] = field(default_factory=list)
    rules: dict[tuple[Any, ...], list[tuple[int, Finding]]] = field(default_factory=dict)


def check(config: Config, memory: Memory) -> list[Problem]:
    """Problems of composing, of the schemas and of the rules."""
    reported = {tuple(problem.path.split(".")) for problem in config.problems if problem.severity == "error"}
    if not config.values:
        return list(config.problems)
    names = tuple(config.values)
    if names not in memory.tops:
        tops = unknown_top(config.values, memory.schemas), absent_top(config.values, memory.schemas)
        memory.tops[names] = tops
    strange, lacking = memory.tops[names]
    unknown = {finding.path[0] for finding in strange}
    top = strange if reported else strange + lacking  # what is absent could perhaps not be composed
    numbers = {key: number_of(key, value, memory) for key, value in config.values.items() if key not in unknown}
    found = top + [finding for number in numbers.values() for finding in memory.parts[number][1]]
    malformed = {finding.path for finding in found}
    by_rule = [pair for keys in RULES_BY_KEYS for pair in run_rules(keys, config, numbers, memory)]
    found += [finding for _, finding in sorted(by_rule, key=itemgetter(0)) if finding.path not in malformed]
    return [*config.problems, *(place(finding, config) for finding in found if finding.path not in reported)]


def number_of(key: str, value: Any, memory: Memory) -> int:
    """The part's number; its schema is checked when it is new."""
    same = (key, id(value))
    if same not in memory.seen:
        memory.seen[same] = value, number_by_text(key, value, memory)
    return memory.seen[same][1]


def number_by_text(key: str, value: Any, memory: Memory) -> int:
    try:
        text = json.dumps(value, default=repr)
    except (RecursionError, ValueError):
        text = f"{id(value)}"  # too deep to compare: schema_check says so
    number = memory.numbers.get((key, text))
    if number is None:
        number = memory.numbers[key, text] = len(memory.parts)
        known = memory.valid.has(key, text)
        part = check_part(key, value, memory.schemas, valid=known)
        if not known and not part[1]:
            memory.valid.add(key, text)
        memory.parts.append(part)
    return number


def run_rules(
    keys: tuple[str, ...], config: Config, numbers: Mapping[str, int], memory: Memory
) -> list[tuple[int, Finding]]:
    """What the rules that read these keys find, each with the rule's number; they run for new values only."""
    known = (keys, *[numbers.get(key, -1) for key in keys])
    if known not in memory.rules:
        parts = {key: memory.parts[numbers[key]][0] for key in keys if key in numbers}
        values = {key: part for key, part in parts.items() if part is not MISSING}
        rules = RULES_BY_KEYS[keys]
        memory.rules[known] = [(n, found) for n, rule in rules for found in rule.check(values, config.project)]
    return memory.rules[known]


def place(finding: Finding, config: Config) -> Problem:
    origin = config.origin(*finding.path)
    where = finding.place or (origin.key if finding.at_key else origin.value)
    return Problem(where, ".".join(finding.path), finding.message, finding.hint, finding.severity)


def order(problem: Problem) -> tuple[bool, str, int, int]:
    """Files first, in the order of their lines; then overrides. Problems of one place keep their order."""
    where = problem.place
    if where.kind == "override":
        return True, "", 0, 0
    return False, where.source, where.line or 0, where.column or 0


def make_job(config: Config, roots: dict[Path, Path]) -> Job:
    """A valid configuration, typed. Everything read here was checked by the schemas."""
    values = config.values
    return Job(
        config=config,
        name=values["name"],
        seed=values["seed"],
        tags=values.get("tags") or {},
        target=target_of(values),
        compute=values["compute"],
        env=values["env"],
        workspace=values["workspace"],
        distribution=Distribution(**values["distribution"]),
        code=make_code(values["code"], config.project, roots),
        inputs=values.get("inputs") or {},
        limits=values.get("limits") or {},
        require_clean=bool((values.get("git") or {}).get("require_clean")),
        register=values.get("register"),
    )


def target_of(values: Mapping[str, Any]) -> str:
    if values["compute"]["kind"] == "local":
        return "local"
    return "azureml_v2" if values["workspace"].get("sdk") == "v2" else "azureml"


def make_code(code: Mapping[str, Any], project: Path, roots: dict[Path, Path] | None = None) -> Code:
    """`roots` remembers what folders resolve to, for the next one."""
    roots = {} if roots is None else roots
    kind = next(kind for kind in ("command", "script", "module") if code.get(kind))
    entry = tuple(code[kind]) if isinstance(code[kind], list) else code[kind]
    arguments = () if kind == "module" else words(code.get("arguments"))
    root = project / code.get("root", ".")
    if root not in roots:
        roots[root] = root.resolve()
    return Code(kind, roots[root], entry, arguments)


def words(arguments: Any) -> tuple[str, ...]:
    """`[a, 1]` as it is; `{lr: 0.1, fast: true, slow: false, ids: [1, 2]}` as `--lr 0.1 --fast --ids 1 2`."""
    if not isinstance(arguments, Mapping):
        return tuple(str(item) for item in arguments or ())
    found: list[str] = []
    for key, value in arguments.items():
        if value is None or value is False:
            continue
        values = value if isinstance(value, list) else [] if value is True else [value]
        found += [key if key.startswith("-") else f"--{key}", *(str(item) for item in values)]
    return tuple(found)
