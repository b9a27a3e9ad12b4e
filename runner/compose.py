"""argv to Config: Hydra composes, and every value keeps the place that set it.

Hydra composes each distinct set of group choices once; values that provably change one leaf are laid over the result,
and Hydra's own code applies everything else to a copy. Which override is which is asked of Hydra, never guessed
(docs/decisions/0002, 0010). What cannot be applied becomes a Problem and the rest goes on: all mistakes are found.

The only module of `runner` that imports hydra and omegaconf.
"""

from __future__ import annotations

import copy
import pickle
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from hydra import version
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra._internal.config_repository import CachingConfigRepository
from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra._internal.defaults_list import create_defaults_list
from hydra._internal.utils import create_config_search_path
from hydra.core.config_search_path import SearchPathElement
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override, OverrideType, Quote, QuotedString
from hydra.core.utils import setup_globals
from omegaconf import AnyNode, DictConfig, OmegaConf, open_dict

from runner import compose_cache
from runner import compose_errors as wording
from runner.compose_cache import Identity, Stored
from runner.config_files import file_in, name_of, options_in, yaml_files
from runner.errors import ConfigError, Place, Problem
from runner.overlay import Ground, Laid, lay, plain, references, resolver_values
from runner.override_text import literal
from runner.provenance import Trail, flatten, present, record_file, record_override
from runner.resources import packaged
from runner.spec import Config, Origin

NAME = "config"
MISSING = "???"
MOST_SHARED, MOST_KEPT = 64, 16
# Values, their places, what pins them (see Config), and what is wrong.
Composed = tuple[dict[str, Any], Mapping[tuple[str, ...], Origin], tuple[str, ...], list[Problem]]


def compose(project: Path, points: Sequence[Sequence[str]]) -> list[Config]:
    """Compose one configuration for each list of Hydra overrides, in order.

    Never raises for what is wrong in YAML or overrides: that is in `Config.problems`. A configuration of which
    nothing could be composed has empty `values`.
    """
    source = open_source(project)
    found = [compose_point(source, tuple(overrides)) for overrides in points]
    keep(source)
    return found


def expand(project: Path, overrides: Sequence[str]) -> list[list[str]]:
    """The points of a sweep (`-m`), in Hydra's grammar and order; the last key varies fastest.

    Raises ConfigError for what cannot be parsed, and for a sweep that has no points.
    """
    source = open_source(project)
    parsed, problems = parse(source, overrides)
    last = {o.get_key_element(): o for o in parsed}  # a later override replaces an earlier one of the same key
    problems += [
        problem for o in parsed for problem in wording.unlistable(o, points_of, counts=last[o.get_key_element()] is o)
    ]
    if problems:
        raise ConfigError(problems)
    return points_of(parsed)


def override(key: str, value: Any) -> str:
    """`++key=value` in Hydra's grammar, whatever the value holds (it parses back to the same value)."""
    return f"++{key}={literal(value, lambda text: str(QuotedString(text=text, quote=Quote.single).with_quotes()))}"


@dataclass
class Base:
    """One set of group choices, composed: Hydra's config, the value overrides' start, and the places.

    `ground` is what plain values can be laid over, None where none can, False until it is asked for. `laid` remembers
    by its text what an override changes there, None where that is not provably one leaf.
    """

    cfg: DictConfig
    trail: Trail
    choices: dict[str, str]
    notes: list[Problem]
    ground: Ground | Literal[False] | None = False
    laid: dict[str, Laid | None] = field(default_factory=dict)
    pickled: bytes = b""


# Within a process, by the content of the files and the choices: tests compose the same again and again.
SHARED: dict[tuple[str, tuple[str, ...]], Base] = {}


@dataclass(frozen=True, slots=True)
class Read:
    """One override of the command line, as Hydra's grammar has it (nothing where it has no such sentence)."""

    parsed: tuple[Override, ...] = ()
    unparsable: Problem | None = None
    is_sweep: bool = False
    is_group: bool = False


@dataclass
class Source:
    """A project's configuration folder, open for composing."""

    project: Path
    loader: ConfigLoaderImpl
    parser: OverridesParser
    bases: dict[tuple[str, ...], tuple[Base | None, list[Problem]]] = field(default_factory=dict)
    options: dict[str, tuple[str, ...]] = field(default_factory=dict)
    read: dict[str, Read] = field(default_factory=dict)
    identity: Identity | None = None

    def folders(self) -> list[Path]:
        return [Path(found.path) for found in self.loader.get_sources() if found.scheme() == "file"]

    def file(self, config_path: str) -> tuple[Path, str] | None:
        return file_in(self.folders(), config_path, self.project)


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
    source.options.update(options_in(source.folders()))
    source.identity = compose_cache.identity(source.folders())
    return source


def compose_point(source: Source, overrides: tuple[str, ...]) -> Config:
    read = [read_override(source, text) for text in overrides]
    problems = [each.unparsable for each in read if each.unparsable is not None]
    problems += [
        wording.sweep_without_multirun(o.input_line or "") for each in read if each.is_sweep for o in each.parsed
    ]
    base, base_problems = base_for(source, [o for each in read if each.is_group for o in each.parsed])
    problems += base_problems
    if base is None:
        return Config(source.project, {}, overrides, options=source.options, problems=tuple(problems))
    applied = [o for each in read if not each.is_sweep and not each.is_group for o in each.parsed]
    values, origins, frozen, refused = lay_over(base, applied) or apply_all(base, applied)
    return Config(
        project=source.project,
        values=values,
        overrides=overrides,
        frozen=frozen,
        choices=base.choices,
        options=source.options,
        origins=origins,
        problems=tuple(problems + base.notes + refused),
    )


def read_override(source: Source, text: str) -> Read:
    """Each text is parsed, and Hydra asked about it, once: points of a sweep say the same again and again."""
    if text not in source.read:
        parsed, problems = parse(source, [text])
        is_sweep = any(o.is_sweep_override() for o in parsed)
        group = not is_sweep and any(is_group(source, o) for o in parsed)
        source.read[text] = Read(tuple(parsed), problems[0] if problems else None, is_sweep, group)
    return source.read[text]


def parse(source: Source, overrides: Sequence[str]) -> tuple[list[Override], list[Problem]]:
    """One by one, so that one mistake does not hide the next."""
    parsed: list[Override] = []
    problems: list[Problem] = []
    for text in overrides:
        try:
            parsed += source.parser.parse_overrides([text])
        except Exception as error:  # noqa: BLE001 - Hydra raises bare exceptions of several classes on bad input
            problems.append(wording.unparsable(text, error))
    return parsed, problems


def points_of(parsed: list[Override]) -> list[list[str]]:
    return list(BasicSweeper.split_arguments(parsed, max_batch_size=None)[0])


def is_group(source: Source, o: Override) -> bool:
    """Whether Hydra takes the override as a choice of a group (or a search path), which decides the defaults list."""
    if o.key_or_group == "hydra.searchpath":
        return True
    return source.loader.repository.group_exists(o.key_or_group) and not isinstance(o.value(), dict)


def base_for(source: Source, groups: list[Override]) -> tuple[Base | None, list[Problem]]:
    key = tuple(o.input_line or "" for o in groups)
    if key not in source.bases:
        same = (source.identity.digest if source.identity else "", key)
        base, problems = (SHARED[same], []) if same in SHARED else recover_base(source, groups)
        if source.identity and base is not None and not problems:
            SHARED[same] = base
            for old in list(SHARED)[:-MOST_SHARED]:
                del SHARED[old]
        source.bases[key] = base, problems
    return source.bases[key]


def keep(source: Source) -> None:
    """For the next command: what was composed without a problem, and has no interpolations."""
    for choices, (base, problems) in list(source.bases.items())[:MOST_KEPT]:
        if source.identity and base and not problems and base.ground and not base.ground.reads:
            named = [path for path in base.ground.leaves() if "." not in "".join(path)]  # a key may hold a dot
            leaves = frozenset(".".join(path) for path in named if is_settable(base, path))
            stored = Stored(base.ground, leaves, base.choices, source.options, tuple(base.notes))
            compose_cache.save(source.identity, choices, stored)


def recover_base(source: Source, groups: list[Override]) -> tuple[Base | None, list[Problem]]:
    """Compose; where a choice does not exist, say so and go on with the closest one, to find what else is wrong."""
    groups, problems = wording.drop_unknown_choices(groups, source.options)
    for _ in range(8):
        try:
            return make_base(source, groups), problems
        except UnicodeDecodeError:
            files = [*(path for path, _ in chosen_files(source, groups)), *yaml_files(source.folders())]
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


def chosen_files(source: Source, groups: list[Override]) -> list[tuple[Path, str]]:
    """The files that the command line chose, and the project's own list: where a default of theirs may be wrong."""
    names = [*(f"{o.key_or_group}/{o.value()}" for o in groups if isinstance(o.value(), str)), NAME]
    return [found for found in map(source.file, names) if found is not None]


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
        if default.config_path and (found := source.file(default.config_path)) is not None:
            record_file(trail, default.package or "", *found)
    # Another thread's warnings are caught as well: Hydra's own are UserWarnings.
    notes = [wording.hydra_warning(str(item.message), source.file) for item in caught if item.category is UserWarning]
    chosen = defaults.overrides.known_choices
    choices = {group: str(option) for group, option in chosen.items() if option and not group.startswith("hydra/")}
    return Base(cfg, trail, choices, notes)


def lay_over(base: Base, overrides: list[Override]) -> Composed | None:
    """What comes of values that each provably set one leaf, and no more: None where that is in doubt."""
    if base.ground is False:
        base.ground = make_ground(base)
    new = [o for o in overrides if (o.input_line or "") not in base.laid]
    base.laid.update({o.input_line or "": proven(base, o) for o in new})
    given = [base.laid[o.input_line or ""] for o in overrides]
    if not base.ground or None in given:
        return None
    values, origins = lay(base.ground, [each for each in given if each is not None])
    return values, origins, (), []


def make_ground(base: Base) -> Ground | None:
    cfg, trail, _ = apply(base, [])
    values, unresolved = resolve(cfg, trail)
    reads = references(OmegaConf.to_container(cfg, resolve=False))
    return None if unresolved or reads is None else Ground(values, present(trail, values), reads)


def proven(base: Base, o: Override) -> Laid | None:
    """`=` and a simple value, on an untyped leaf below untyped mappings, which no interpolation reads."""
    value, path = o.value(), tuple(o.key_or_group.split("."))
    simple = ("$" not in value and value != MISSING) if isinstance(value, str) else value is None
    simple = (simple or isinstance(value, (bool, int, float))) and o.type is OverrideType.CHANGE and not o.package
    return Laid(path, value, o.input_line or "") if simple and is_settable(base, path) else None


def is_settable(base: Base, path: tuple[str, ...]) -> bool:
    node: Any = base.cfg
    for key in path:
        if not is_untyped(node) or key not in node.__dict__["_content"]:
            return False
        node = node.__dict__["_content"][key]
    content = node.__dict__["_val"] if type(node) is AnyNode else "$"
    fixed = (isinstance(content, str) and "$" in content) or node._get_flag("readonly") or path[0] == "hydra"
    return not fixed and bool(base.ground) and base.ground.is_free(path)  # type: ignore[union-attr] # bool() says so


def is_untyped(node: Any) -> bool:
    """A mapping as YAML makes them, and no interpolation."""
    if type(node) is not DictConfig or not isinstance(node.__dict__["_content"], dict):
        return False
    about = node._metadata
    return about.object_type in (dict, None) and about.element_type is Any and about.ref_type in (Any, dict)


def apply_all(base: Base, overrides: list[Override]) -> Composed:
    cfg, trail, rejected = apply(base, overrides)
    values, unresolved = resolve(cfg, trail)
    pinned = resolver_values(OmegaConf.to_container(cfg, resolve=False), values)
    frozen = tuple(override(".".join(key), value) for key, value in pinned)
    return values, present(trail, values), frozen, rejected + unresolved


def fresh(base: Base) -> Any:
    """A copy of Hydra's configuration; a pickle is read four times as fast as `copy.deepcopy` copies."""
    try:
        base.pickled = base.pickled or pickle.dumps(base.cfg)
        return pickle.loads(base.pickled)  # noqa: S301 - our own, a line above, in this process
    except Exception:  # noqa: BLE001 - what files and plugins of Hydra's bring may refuse in any way
        return copy.deepcopy(base.cfg)


def apply(base: Base, overrides: list[Override]) -> tuple[DictConfig, Trail, list[Problem]]:
    """Hydra's own code applies the value overrides to a copy, in order; those it refuses are reported and left out."""
    cfg = fresh(base)
    accepted: list[Override] = []
    problems: list[Problem] = []
    for o in overrides:
        try:
            ConfigLoaderImpl._apply_overrides_to_config([o], cfg)
        except Exception as error:  # noqa: BLE001 - see parse
            cfg = fresh(base)  # what was refused may have left something behind
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
        return plain(OmegaConf.to_container(cfg, resolve=True)), []
    except Exception:  # noqa: BLE001 - a resolver may raise anything
        return resolve_each(cfg, trail)


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
