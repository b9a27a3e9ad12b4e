"""Compositions kept between commands: what Hydra made of a set of group choices, found again without importing Hydra.

Named by the content of every file that Hydra could read, the versions, and the choices (docs/decisions/0010), so a hit
is what Hydra would say. AMLRUN_CACHE=off turns it off, AMLRUN_CACHE=DIR keeps it elsewhere than in the user's cache.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib.util
import json
import os
import sys
import threading
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from runner.compose_errors import uses_resolver
from runner.errors import Place, Problem
from runner.overlay import Ground
from runner.spec import Origin

SWITCH = "AMLRUN_CACHE"
MOST_FILES, MOST_BYTES = 128, 1 << 20
OURS = ("compose", "compose_cache", "compose_errors", "config_files", "errors", "overlay", "provenance", "spec")


@dataclass(frozen=True, slots=True)
class Identity:
    """What compositions depend on besides the choices, as a digest; and the names of the config groups."""

    digest: str
    groups: frozenset[str]


@dataclass(frozen=True, slots=True)
class Stored:
    """One composition: `leaves` are the paths (dotted) of which a plain value can be set."""

    ground: Ground
    leaves: frozenset[str]
    choices: Mapping[str, str]
    options: Mapping[str, tuple[str, ...]]
    notes: tuple[Problem, ...]


def identity(folders: Sequence[Path]) -> Identity | None:
    """Of the configuration in these folders; None where it may depend on more than its files, or caching is off."""
    if folder() is None:
        return None
    hasher, groups = hashlib.sha256(repr([versions(), *folders[1:]]).encode()), set()
    for each in folders:
        for here, below, names in os.walk(each):
            below.sort()
            place = Path(here).relative_to(each).as_posix()
            groups.add(place)
            hasher.update(f"\0folder {place}\0".encode())
            for name in sorted(names):
                content = Path(here, name).read_bytes() if name.endswith(".yaml") else b""
                text = content.decode("utf-8", "replace")
                if uses_resolver(text) or "searchpath" in text:
                    return None
                hasher.update(f"\0{name}\0{len(content)}\0".encode() + content)
    return Identity(hasher.hexdigest(), frozenset(groups))


def load(known: Identity, choices: Sequence[str]) -> Stored | None:
    """What was kept for these group choices (overrides, in order)."""
    path = file_of(known, choices)
    try:
        found = json.loads(path.read_bytes())
        places = [Place(*item) for item in found["places"]]
        origins = {tuple(path): Origin(places[value], places[key]) for path, value, key in found["origins"]}
        options = {group: tuple(names) for group, names in found["options"].items()}
        notes = tuple(Problem(**{**note, "place": Place(**note["place"])}) for note in found["notes"])
        ground = Ground(found["values"], origins, frozenset())
        return Stored(ground, frozenset(found["leaves"]), found["choices"], options, notes)
    except OSError:
        return None
    except (ValueError, TypeError, KeyError, IndexError, AttributeError):  # damaged, so that it is written anew
        path.unlink(missing_ok=True)
        return None


def save(known: Identity, choices: Sequence[str], stored: Stored) -> None:
    """Written beside and renamed, so that readers see all of it or nothing. That it cannot be written is no matter."""
    if file_of(known, choices).is_file():
        return
    places: dict[Place, int] = {}
    rows = []
    for path, origin in stored.ground.origins.items():
        value, key = (places.setdefault(place, len(places)) for place in (origin.value, origin.key))
        rows.append([list(path), value, key])
    content = {
        "values": stored.ground.values,
        "places": [[place.source, place.line, place.column] for place in places],
        "origins": rows,
        "leaves": sorted(stored.leaves),
        "choices": dict(stored.choices),
        "options": {group: list(names) for group, names in stored.options.items()},
        "notes": [asdict(note) for note in stored.notes],
    }
    with contextlib.suppress(OSError, TypeError, ValueError, RecursionError):
        text = json.dumps(content)
        if len(text) <= MOST_BYTES and json.loads(text) == content:  # what JSON would change is not kept
            write(file_of(known, choices), text)


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    beside = path.with_name(f"{path.name}.{os.getpid()}-{threading.get_ident()}.part")
    beside.write_text(text, encoding="utf-8")
    beside.replace(path)
    kept = sorted(path.parent.iterdir(), key=lambda each: each.stat().st_mtime_ns)
    for old in kept[:-MOST_FILES]:
        old.unlink(missing_ok=True)


def file_of(known: Identity, choices: Sequence[str]) -> Path:
    place = folder()
    assert place is not None, "where caching is off, nothing has an identity"
    return place / f"{hashlib.sha256(json.dumps([known.digest, *choices]).encode()).hexdigest()}.json"


def folder() -> Path | None:
    """Where things are kept; None where nothing is."""
    named = os.environ.get(SWITCH)
    if named == "off":
        return None
    caches = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return Path(named) if named else caches / "amlrun" / "compose"


def versions() -> list[Any]:
    """Which Python, Hydra, OmegaConf and amlrun: by their files, since asking for versions takes longer."""
    here = Path(__file__).parent
    files = [here / f"{name}.py" for name in OURS]
    for package, name in (("hydra", "__init__.py"), ("omegaconf", "version.py")):
        spec = importlib.util.find_spec(package)
        files += [Path(spec.origin).with_name(name)] if spec is not None and spec.origin else []
    plugins = importlib.util.find_spec("hydra_plugins")
    places = plugins.submodule_search_locations or () if plugins else ()
    added = sorted(str(path) for place in places for path in Path(place).iterdir())
    states = [(str(file), file.stat().st_size, file.stat().st_mtime_ns) for file in files]
    return [sys.version, states, added]
