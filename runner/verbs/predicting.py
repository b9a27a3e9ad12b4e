"""models predict, package: answers of a model for image files, and what a web service on Azure needs to give them."""

from __future__ import annotations

import argparse
import glob
import itertools
import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

from runner.errors import ConfigError, TargetError
from runner.verbs.model_files import model_file
from runner.verbs.registry import wrong

SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".webp", ".gif", ".tif", ".tiff", ".ppm", ".pgm"})
OVERRIDE = re.compile(r"[+~]{0,2}[A-Za-z_][\w./@]*=.*|~[A-Za-z_][\w./@]*", re.DOTALL)
BATCH = 16


def predict(args: argparse.Namespace) -> int:
    """Exit code 2 if any image could not be read: each is named, and the others have their answers."""
    scoring = load_scoring()
    name, words, overrides = split_words(args)
    if not words:
        raise wrong("no image is named", "amlrun models predict MODEL IMAGE|FOLDER...")
    with model_file(name, overrides, args.project) as path:
        scorer = loaded(scoring, path)
    rows, failed = [], 0
    for row in answers(scoring, scorer, list(dict.fromkeys(images_of(words))), args.top):
        rows.append(row)
        failed += "error" in row
        if "error" in row:
            print(f"amlrun: '{row['image']}' {row['error']}; repair it or leave it out", file=sys.stderr)
        elif not args.json:
            print(line_of(row), flush=True)
    if args.json:
        print(json.dumps({"model": name, "predictions": rows}, indent=2))
    return ConfigError.exit_code if failed else 0


def package(args: argparse.Namespace) -> int:
    scoring = load_scoring()
    from runner import packaging  # with scoring: numpy and onnxruntime

    name, words, overrides = split_words(args)
    if len(words) > 1:
        raise wrong(
            f"'{words[1]}' is one image too many", "amlrun models package MODEL [IMAGE], the image to try it on"
        )
    folder = args.output or Path(f"{name.split('/')[-1].removesuffix('.onnx').replace(':', '-')}-package")
    sample = Path(words[0]) if words else None
    with model_file(name, overrides, args.project) as path:
        loaded(scoring, path)
        made = packaging.package(path, folder, sample, args.force)
    if args.json:
        print(json.dumps(made, indent=2))
    elif not args.quiet:
        print(f"{folder}: {', '.join(made['files'])}")
        print(f"tried here: the sample is '{made['label']}' ({made['probability']:.1%}), as 'predict' says")
    return 0


def load_scoring() -> ModuleType:
    """runner.scoring, which needs more than amlrun does."""
    try:
        from runner import scoring
    except ModuleNotFoundError as error:
        raise TargetError(f"'{error.name}' is not installed; pip install 'amlrun[onnx]'") from error
    return scoring


def split_words(args: argparse.Namespace) -> tuple[str, list[str], list[str]]:
    """MODEL, images, and the overrides that choose a workspace. A file may have '=' in its name."""
    overrides = [word for word in args.overrides if OVERRIDE.fullmatch(word) and not Path(word).exists()]
    words = [word for word in args.overrides if word not in overrides]
    if not words:
        raise wrong("no model is named", f"amlrun models {args.action} MODEL: a .onnx file, a run, or NAME[:VERSION]")
    return words[0], words[1:], overrides


def loaded(scoring: ModuleType, path: Path) -> Any:
    try:
        return scoring.load(path)
    except scoring.ScoringError as error:
        raise TargetError(str(error)) from error


def images_of(words: list[str]) -> Iterator[str]:
    """Files as named; of folders, and of patterns that the shell left alone, the images in them."""
    for word in words:
        path = Path(word)
        if path.is_dir():
            found = sorted(str(file) for file in path.rglob("*") if file.suffix.lower() in SUFFIXES)
        elif not path.exists() and glob.has_magic(word):
            found = sorted(glob.glob(word, recursive=True))  # noqa: PTH207 - absolute patterns too
        else:
            found = [word]
        if not found:
            raise wrong(f"no image is in '{word}'", f"images end in {', '.join(sorted(SUFFIXES))}")
        yield from found


def answers(scoring: ModuleType, scorer: Any, images: list[str], top: int) -> Iterator[dict[str, Any]]:
    """A row for each image, in order; only a batch of them is in memory."""
    for start in range(0, len(images), BATCH):
        names = images[start : start + BATCH]
        read: list[Any] = []
        for name in names:
            try:
                read.append(scoring.read_image(scorer, Path(name)))
            except scoring.ScoringError as error:
                read.append(str(error))
        whole = [item for item in read if not isinstance(item, str)]
        found = iter(scoring.classify(scorer, whole, top) if whole else ())
        for name, item in zip(names, read, strict=True):
            yield {"image": name, "error": item} if isinstance(item, str) else {"image": name, **next(found)}


def line_of(row: dict[str, Any]) -> str:
    best = itertools.starmap("{} {:.4f}".format, zip(row["labels"], row["probabilities"], strict=True))
    return "  ".join((row["image"], *best))
