"""argv to Config: Hydra composes, and every value keeps the place that set it.

Hydra composes each distinct set of group choices once; its own code applies the plain overrides to a copy. Which
override is which is asked of Hydra, never guessed (docs/decisions/0002). An override that cannot be applied becomes a
Problem and the rest goes on, so that all mistakes are shown at once.

The only module of `runner` that imports hydra and omegaconf.
"""

from __future__ import annotations

import copy
import re
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hydra import version
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra._internal.config_repository import CachingConfigRepository
from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra._internal.defaults_list import create_defaults_list
from hydra._internal.utils import create_config_search_path
from hydra.core.config_search_path import SearchPathElement
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override, Quote, QuotedString
from hydra.core.utils import setup_globals
from omegaconf import DictConfig, OmegaConf, open_dict

from runner import compose_errors as wording
from runner.errors import ConfigError, Place, Problem
from runner.provenance import Trail, flatten, record_file, record_override
from runner.resources import packaged
from runner.spec import Config

NAME = "config"
MISSING = "???"


def compose(project: Path, points: Sequence[Sequence[str]]) -> list[Config]:
    """Compose one configuration for each list of Hydra overrides, in order.

    Never raises for what is wrong in YAML or overrides: that is in `Config.problems`. A configuration of which
    nothing could be composed has empty `values`.
    """
    source = open_source(project)
    return [compose_point(source, tuple(overrides)) for overrides in points]


def expand(project: Path, overrides: Sequence[str]) -> list[list[str]]:
    """The points of a sweep (`-m`), in Hydra's grammar and order; the last key varies fastest.

    Raises ConfigError for what cannot be parsed, and for a sweep that has no points.
    """
    source = open_source(project)
    parsed, problems = parse(source, overrides)
    last = {o.get_key_element(): o for o in parsed}  # a later override replaces an earlier one of the same key
    problems += [problem for o in parsed for problem in unlistable(o, counts=last[o.get_key_element()] is o)]
    if problems:
        raise ConfigError(problems)
    points: list[list[str]] = BasicSweeper.split_arguments(parsed, max_batch_size=None)[0]
    return points


def override(key: str, value: Any) -> str:
    """`++key=value` in Hydra's grammar, whatever the value holds (it parses back to the same value)."""
    return f"++{key}={literal(value)}"


@dataclass
class Base:
    """One set of group choices, composed: Hydra's config, the value overrides' start, and the places."""

    cfg: DictConfig
    trail: Trail
    choices: dict[str, str]
    notes: list[Problem]


@dataclass
class Source:
    """A project's configuration folder, open for composing."""

    project: Path
    loader: ConfigLoaderImpl
    parser: OverridesParser
    bases: dict[tuple[str, ...], tuple[Base | None, list[Problem]]] = field(default_factory=dict)
    options: dict[str, tuple[str, ...]] = field(default_factory=dict)

    def file(self, config_path: str) -> tuple[Path, str] | None:
        """The file of `group/option` and its name in messages, None where Hydra itself brings it."""
        for found in self.loader.get_sources():
            path = Path(found.path) / f"{config_path.removesuffix('.yaml')}.yaml"
            if found.scheme() == "file" and path.is_file():
                return path, name_of(path, self.project)
        return None


def open_source(project: Path) -> Source:
    version.setbase(None)
    setup_globals()
    folder = (project / "configs").resolve()
    search_path = create_config_search_path(str(folder))
    if packaged("configs").resolve() != folder:
        element = SearchPathElement("amlrun", f"file://{packaged('configs')}")
        search_path.get_path().insert(-1, element)
    loader = ConfigLoaderImpl(search_path)
    source = Source(project.resolve(), loader, OverridesParser.create(config_loader=loader))
    source.options.update(group_options(source))
    return source


def group_options(source: Source) -> dict[str, tuple[str, ...]]:
    """Every config group with its options: as Hydra lists them, which takes 60 times as long."""
    found: dict[str, set[str]] = {}
    for folder in [Path(each.path) for each in source.loader.get_sources() if each.scheme() == "file"]:
        for path in folder.rglob("*.yaml"):
            group = path.parent.relative_to(folder).as_posix()
            if group.split("/")[0] not in (".", "hydra"):
                found.setdefault(group, set()).add(path.stem)
    return {group: tuple(sorted(options)) for group, options in sorted(found.items())}


def compose_point(source: Source, overrides: tuple[str, ...]) -> Config:
    parsed, problems = parse(source, overrides)
    problems += [wording.sweep_without_multirun(o.input_line or "") for o in parsed if o.is_sweep_override()]
    plain = [o for o in parsed if not o.is_sweep_override()]
    groups = [o for o in plain if is_group(source, o)]
    base, base_problems = base_for(source, groups)
    problems += base_problems
    if base is None:
        return Config(source.project, {}, overrides, options=source.options, problems=tuple(problems))
    applied = [o for o in plain if o not in groups]
    cfg, trail, rejected = apply(base, applied)
    values, unresolved = resolve(cfg, trail)
    return Config(
        project=source.project,
        values=values,
        overrides=overrides,
        frozen=freeze(cfg, values),
        choices=base.choices,
        options=source.options,
        origins=flatten(trail),
        problems=tuple(problems + base.notes + rejected + unresolved),
    )


def parse(source: Source, overrides: Sequence[str]) -> tuple[list[Override], list[Problem]]:
    """Parse one by one, so that one mistake does not hide the next."""
    parsed: list[Override] = []
    problems: list[Problem] = []
    for text in overrides:
        try:
            parsed += source.parser.parse_overrides([text])
        except Exception as error:  # noqa: BLE001 - Hydra raises bare exceptions of several classes on bad input
            problems.append(wording.unparsable(text, error))
    return parsed, problems


def unlistable(o: Override, *, counts: bool) -> list[Problem]:
    """Why Hydra's sweeper can make no points of the override; one that does not count may have none."""
    text = o.input_line or ""
    if o.is_sweep_override() and not o.is_discrete_sweep():
        return [wording.not_discrete(text)]
    try:
        points = BasicSweeper.split_arguments([o], max_batch_size=None)[0]
    except Exception:  # noqa: BLE001 - see parse
        return [wording.nested_sweep(text)]
    return [wording.empty_sweep(text)] if counts and not points else []


def is_group(source: Source, o: Override) -> bool:
    """Whether Hydra takes the override as a choice of a group (or a search path), which decides the defaults list."""
    if o.key_or_group == "hydra.searchpath":
        return True
    return source.loader.repository.group_exists(o.key_or_group) and not isinstance(o.value(), dict)


def base_for(source: Source, groups: list[Override]) -> tuple[Base | None, list[Problem]]:
    key = tuple(o.input_line or "" for o in groups)
    if key not in source.bases:
        source.bases[key] = recover_base(source, groups)
    return source.bases[key]


def recover_base(source: Source, groups: list[Override]) -> tuple[Base | None, list[Problem]]:
    """Compose; where a choice does not exist, say so and go on with the closest one, to find what else is wrong."""
    groups, problems = drop_unknown_choices(source, groups)
    for _ in range(8):
        try:
            return make_base(source, groups), problems
        except UnicodeDecodeError:
            files = [*(path for path, _ in chosen_files(source, groups)), *yaml_files(source)]
            return None, [*problems, wording.undecodable(files, lambda path: name_of(path, source.project))]
        except Exception as error:  # noqa: BLE001 - see parse
            blamed = wording.refused_choice(error, [o.input_line or "" for o in groups])
            if blamed is not None:
                problems.append(blamed[0])
                groups = [o for o in groups if o.input_line != blamed[1]]
                continue
            problem, instead = wording.explain(error, source.file, source.options, chosen_files(source, groups))
            if problem in problems:
                return None, problems
            problems.append(problem)
            if instead is None:
                return None, problems
            groups = groups + source.parser.parse_overrides([instead])
    return None, problems


def yaml_files(source: Source) -> list[Path]:
    folders = [Path(found.path) for found in source.loader.get_sources() if found.scheme() == "file"]
    return [path for folder in folders for path in sorted(folder.rglob("*.yaml"))]


def chosen_files(source: Source, groups: list[Override]) -> list[tuple[Path, str]]:
    """The files that the command line chose, and the project's own list: where a default of theirs may be wrong."""
    names = [f"{o.key_or_group}/{o.value()}" for o in groups if isinstance(o.value(), str)] + [NAME]
    return [found for found in map(source.file, names) if found is not None]


def drop_unknown_choices(source: Source, groups: list[Override]) -> tuple[list[Override], list[Problem]]:
    kept: list[Override] = []
    problems: list[Problem] = []
    for o in groups:
        value = o.value()
        known = source.options.get(o.key_or_group, ())
        asked = value if isinstance(value, list) else [value]
        if o.is_delete() and value is not None and not isinstance(value, str):
            problems.append(wording.odd_removal(o.key_or_group, o.input_line or ""))
            continue
        if value is None and not o.is_delete():
            problems.append(wording.no_choice(o.key_or_group, o.input_line or ""))
            continue
        checked = not o.is_delete() and o.key_or_group.split("/")[0] not in ("hydra", "hydra.searchpath")
        bad = [v for v in asked if checked and v is not None and v not in known]
        if bad:
            problems += [wording.unknown_choice(o.key_or_group, v, known, o.input_line or "") for v in bad]
        else:
            kept.append(o)
    return kept, problems


def make_base(source: Source, groups: list[Override]) -> Base:
    loader = source.loader
    repository = CachingConfigRepository(loader.repository)  # never reused: its nodes are shared with the result
    loader._process_config_searchpath(NAME, groups, repository)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        defaults = create_defaults_list(repository, NAME, groups, prepend_hydra=True, skip_missing=False)
        cfg = loader._compose_config_from_defaults_list(defaults.defaults, repository)
    OmegaConf.set_struct(cfg, True)
    OmegaConf.set_readonly(cfg.hydra, False)
    trail = Trail()
    for default in defaults.defaults:
        found = source.file(default.config_path) if default.config_path else None
        if found is not None:
            record_file(trail, default.package or "", *found)
    # Another thread's warnings are caught as well: Hydra's own are UserWarnings.
    notes = [wording.hydra_warning(str(item.message), source.file) for item in caught if item.category is UserWarning]
    chosen = defaults.overrides.known_choices
    choices = {group: str(option) for group, option in chosen.items() if option and not group.startswith("hydra/")}
    return Base(cfg, trail, choices, notes)


def apply(base: Base, overrides: list[Override]) -> tuple[DictConfig, Trail, list[Problem]]:
    """Hydra's own code applies the value overrides to a copy, in order; those it refuses are reported and left out."""
    cfg = copy.deepcopy(base.cfg)
    accepted: list[Override] = []
    problems: list[Problem] = []
    for o in overrides:
        try:
            ConfigLoaderImpl._apply_overrides_to_config([o], cfg)
        except Exception as error:  # noqa: BLE001 - see parse
            cfg = copy.deepcopy(base.cfg)  # what was refused may have left something behind
            ConfigLoaderImpl._apply_overrides_to_config(accepted, cfg)
            known = OmegaConf.to_container(cfg, resolve=False)
            problems.append(wording.refused(o.input_line or "", o.key_or_group, known, error))
        else:
            accepted.append(o)
    trail = base.trail.copy()
    for o in accepted:
        record_override(trail, o.key_or_group, o.value(), o.input_line or "", delete=o.is_delete())
    with open_dict(cfg):
        cfg.pop("hydra", None)
    trail.children.pop("hydra", None)
    return cfg, trail, problems


def resolve(cfg: DictConfig, trail: Trail) -> tuple[dict[str, Any], list[Problem]]:
    """Plain resolved containers; an interpolation that cannot be resolved is a Problem and stays as written."""
    try:
        resolved = OmegaConf.to_container(cfg, resolve=True)
    except Exception:  # noqa: BLE001 - a resolver may raise anything
        return resolve_each(cfg, trail)
    return plain(resolved), []


def resolve_each(cfg: DictConfig, trail: Trail) -> tuple[dict[str, Any], list[Problem]]:
    origins = flatten(trail)
    problems: list[Problem] = []

    def walk(node: Any, path: tuple[str, ...]) -> Any:
        if OmegaConf.is_dict(node):
            keys = [k for k in node if isinstance(node, DictConfig)]
            return {str(k): child(node, k, (*path, str(k))) for k in keys}
        if OmegaConf.is_list(node):
            return [child(node, i, (*path, str(i))) for i in range(len(node))]
        return node

    def child(node: Any, key: Any, path: tuple[str, ...]) -> Any:
        if OmegaConf.is_missing(node, key):
            return MISSING
        try:
            return walk(node[key], path)
        except Exception as error:  # noqa: BLE001 - a resolver may raise anything
            found = [origins[path[:end]] for end in range(len(path), 0, -1) if path[:end] in origins]
            where = found[0].value if found else Place("configs/config.yaml", 1, 1)
            problems.append(wording.unresolvable(where, ".".join(path), error))
            return OmegaConf.to_container(node, resolve=False)[key]  # type: ignore[index]

    values: dict[str, Any] = walk(cfg, ())
    return values, problems


def plain(value: Any) -> Any:
    """Keys become strings, as they are in JSON."""
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list):
        return [plain(item) for item in value]
    return value


def freeze(cfg: DictConfig, values: Mapping[str, Any]) -> tuple[str, ...]:
    """Overrides that pin what a resolver gave here, so that the node gets the same."""
    frozen: list[str] = []

    def walk(raw: Any, value: Any, path: tuple[str, ...]) -> None:
        if isinstance(raw, str) and wording.uses_resolver(raw):
            frozen.append(override(".".join(path), value))
        elif isinstance(raw, dict) and isinstance(value, dict):
            for key, item in raw.items():
                walk(item, value.get(str(key)), (*path, str(key)))
        elif isinstance(raw, list) and isinstance(value, list):
            for index, item in enumerate(raw):
                walk(item, value[index] if index < len(value) else None, (*path, str(index)))

    walk(OmegaConf.to_container(cfg, resolve=False), values, ())
    return tuple(frozen)


def literal(value: Any) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (int, float)):
        return repr(value)
    if isinstance(value, Mapping):
        return "{" + ",".join(f"{key}:{literal(item)}" for key, item in value.items()) + "}"
    if isinstance(value, (list, tuple)):
        return "[" + ",".join(literal(item) for item in value) + "]"
    # One backslash keeps "${" from being an interpolation; those before it count twice.
    text = re.sub(r"(\\*)\$\{", lambda found: found[1] * 2 + r"\${", str(value))
    return str(QuotedString(text=text, quote=Quote.single).with_quotes())


def name_of(path: Path, project: Path) -> str:
    """The file as messages name it: relative to the project where it is inside."""
    resolved = path.resolve()
    return str(resolved.relative_to(project)) if resolved.is_relative_to(project) else str(path)
