"""Configurations of overrides: from what is kept of earlier commands where that says it all, else composed by Hydra.

Hydra takes longer to import than the rest of a command takes to run, so `runner.compose` is imported on use.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from runner import compose_cache
from runner.choices import config_folders
from runner.compose_cache import Identity, Stored
from runner.compose_errors import unknown_key
from runner.errors import Problem
from runner.overlay import Laid, lay
from runner.spec import Config

# A part of Hydra's override grammar (hydra/grammar/OverrideParser.g4) in which nothing can be taken for anything else.
WORD = r"[A-Za-z_][A-Za-z0-9_]*"
NUMBER = r"-?(?:0|[1-9][0-9]*)"
SIMPLE = re.compile(
    rf"(?P<key>{WORD}(?:\.{WORD})*)=(?:(?P<int>{NUMBER})|(?P<float>{NUMBER}\.[0-9]+)|(?P<word>[A-Za-z_][A-Za-z0-9_./-]*))"
)
NOT_WORDS = {"null": None, "true": True, "false": False}
SPECIAL = {*NOT_WORDS, "nan", "inf"}


def compose(project: Path, points: Sequence[Sequence[str]]) -> list[Config]:
    """As `runner.compose.compose`."""
    found = kept(project.resolve(), points)
    if found is not None:
        return found
    from runner.compose import compose

    return compose(project, points)


def expand(project: Path, overrides: Sequence[str]) -> list[list[str]]:
    """As `runner.compose.expand`."""
    from runner.compose import expand

    return expand(project, overrides)


def kept(project: Path, points: Sequence[Sequence[str]]) -> list[Config] | None:
    """None unless every point is a kept composition with plain values, or names of keys that are not there."""
    known = compose_cache.identity(config_folders(project))
    if known is None:
        return None
    stored: dict[tuple[str, ...], Stored | None] = {}
    found: list[Config] = []
    for point in points:
        choices = tuple(text for text in point if is_choice(text, known))
        if choices not in stored:
            stored[choices] = compose_cache.load(known, choices)
        config = laid(project, stored[choices], point, choices)
        if config is None:
            return None
        found.append(config)
    return found


def is_choice(text: str, known: Identity) -> bool:
    """Whether it may be one. What is none after all is among no kept choices."""
    return text.partition("=")[0].lstrip("+~").partition("@")[0] in known.groups


def laid(project: Path, stored: Stored | None, point: Sequence[str], choices: Sequence[str]) -> Config | None:
    if stored is None:
        return None
    each = [effect(text, stored) for text in point if text not in choices]
    if None in each:
        return None
    refused = [item for item in each if isinstance(item, Problem)]
    values, origins = lay(stored.ground, [item for item in each if isinstance(item, Laid)])
    return Config(
        project=project,
        values=values,
        overrides=tuple(point),
        choices=stored.choices,
        options=stored.options,
        origins=origins,
        problems=(*stored.notes, *refused),
    )


def effect(text: str, stored: Stored) -> Laid | Problem | None:
    """What an override that is no choice comes to; None where only Hydra can tell."""
    read = plain(text)
    if read is None:
        return None
    path, value = read
    if ".".join(path) in stored.leaves:
        return Laid(path, value, text)
    return unknown_at(text, path, stored.ground.values)


def plain(text: str) -> tuple[tuple[str, ...], Any] | None:
    """Path and value of a simple override, None for any other."""
    found = SIMPLE.fullmatch(text)
    if found is None or any(part.lower() in SPECIAL for part in found["key"].split(".")):
        return None
    path = tuple(found["key"].split("."))
    if path[0] == "hydra":
        return None
    if found["int"] or found["float"]:
        return path, int(found["int"]) if found["int"] else float(found["float"])
    word = found["word"]
    if word.lower() in SPECIAL and word not in NOT_WORDS:
        return None
    return path, NOT_WORDS.get(word, word)


def unknown_at(text: str, path: tuple[str, ...], values: Any) -> Problem | None:
    """What Hydra's refusal is told as, where a mapping lacks a key on the way; None where something else stops it."""
    here = {**values, "hydra": None}  # which is there when Hydra refuses
    for index, key in enumerate(path):
        if not isinstance(here, dict):
            return None
        if key not in here:
            return unknown_key(text, path, index, here)
        here = here[key]
    return None
