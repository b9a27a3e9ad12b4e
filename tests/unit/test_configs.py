"""Compositions that are kept: never other than what Hydra composes, never when something could have changed."""

from __future__ import annotations

import json
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from hypothesis import given, settings
from hypothesis import strategies as st

from runner import compose as hydras
from runner import configs
from tests.conftest import write

# Overrides, and whether a kept composition says what comes of them.
LINES = {
    "": True,
    "optimizer.lr=0.5 seed=-3": True,
    "seed=true optimizer.lr=null": True,
    "name=other": True,
    "code.script=train/x-1.py": True,
    "experiment=digits compute=gpu-cluster trainer.epochs=7": True,
    "optimizer.lrr=1": True,
    "seedd=1 optimizer.betas.x=1": False,
    "modell=resnet18": True,
    "qqq=1": True,
    "optimizer.qqq=1 optimizer.qqq=2 seed=1": True,
    "register.name=x": False,  # null has no keys: Hydra says so
    "seed='1'": False,
    "seed=1e3": False,
    "seed=nan": False,
    "seed=NULL": False,
    "seed=1,2": False,
    "seed=[1]": False,
    "seed=${optimizer.lr}": False,
    "+new=1": False,
    "~seed": False,
    "++seed=1": False,
    "tags=1": False,
    "model={x:1}": False,
    "hydra.job.name=n": False,
    "model=gone": False,
    "seed": False,
    "optimizer.betas.0=1": False,
    "experiment=dotted tags.a.b=y": True,
}


@pytest.fixture
def kept(project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder for what is kept; what this process has composed before is forgotten."""
    monkeypatch.setenv("AMLRUN_CACHE", str(tmp_path / "kept"))
    monkeypatch.setattr(hydras, "SHARED", {})
    return tmp_path / "kept"


def said(project: Path, points: Sequence[Sequence[str]]) -> list[object]:
    return [(each.values, dict(each.origins), each.problems) for each in hydras.compose(project, points)]


def test_what_is_kept_is_what_hydra_composes(project: Path, kept: Path) -> None:
    write(project, {"configs/experiment/dotted.yaml": "# @package _global_\ntags: {a.b: x}\n"})
    points = [line.split() for line in LINES]
    expected = hydras.compose(project, points)
    for point, config, free in zip(points, expected, LINES.values(), strict=True):
        found = configs.kept(project.resolve(), [point])
        assert (found is not None) == free, point
        if found is not None:
            [again] = found
            assert json.dumps(again.values) == json.dumps(config.values)  # 1 is not 1.0 or true
            assert dict(again.origins) == dict(config.origins)
            names = ("project", "overrides", "frozen", "choices", "options", "problems")
            assert [getattr(again, name) for name in names] == [getattr(config, name) for name in names]


@settings(deadline=None)
@given(
    st.from_regex(r"[a-c_]{1,2}(\.[a-c0-2]{1,2}){0,2}=", fullmatch=True),
    st.sampled_from(
        (
            "null",
            "True",
            "nan",
            "inf",
            "1",
            "-0",
            "007",
            "1.50",
            "-2.",
            "a",
            "_b1",
            "a-b",
            "é",
            "1_0",
            "noop.py",
            "a/b-c.pt",
            "nan.5",
            "true-",
            "null.x",
            "a.1e3",
            "_.-/x",
            "n/a",
            "",
            "a.b",
        )
    )
    | st.text("01.-+eEanul_/", max_size=6),
)
def test_what_is_read_without_hydra_is_what_hydra_reads(key: str, value: str) -> None:
    read = configs.plain(key + value)
    if read is not None:
        [parsed] = OverridesParser.create().parse_overrides([key + value])
        assert (parsed.key_or_group, repr(parsed.value())) == (".".join(read[0]), repr(read[1]))
        assert not parsed.is_sweep_override()
        assert parsed.is_delete() == parsed.is_add() == parsed.is_force_add() == (parsed.package is not None) is False


def test_nothing_is_kept_that_a_file_may_change(project: Path, kept: Path) -> None:
    """Any file: one that was read, one that was not, a new one, one that is gone, a group that comes."""
    for change in (
        lambda: write(project, {"configs/optimizer/adamw.yaml": "_target_: torch.optim.AdamW\nlr: 0.25\n"}),
        lambda: write(project, {"configs/optimizer/new.yaml": "lr: 1\n"}),
        (project / "configs/optimizer/sgd.yaml").unlink,
        (project / "configs/seed").mkdir,
    ):
        hydras.compose(project, [[]])
        assert configs.kept(project.resolve(), [[]]) is not None
        change()
        assert configs.kept(project.resolve(), [[]]) is None
    assert configs.compose(project, [[]])[0].values["optimizer"]["lr"] == 0.25


@pytest.mark.parametrize(
    "text",
    [
        "defaults:\n  - /optimizer: ${oc.env:WHICH,sgd}\n",
        "name: ${oc.env:WHICH,sgd}\n",
        "when: ${now:%Y}\n",
        "hydra:\n  searchpath: []\n",
    ],
)
def test_nothing_is_kept_of_what_more_than_files_decides(project: Path, kept: Path, text: str) -> None:
    write(project, {"configs/experiment/env.yaml": f"# @package _global_\n{text}"})
    hydras.compose(project, [["+experiment=env"], []])
    assert not kept.exists()
    assert hydras.SHARED == {}


def test_it_can_be_turned_off(project: Path, kept: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AMLRUN_CACHE", "off")
    configs.compose(project, [[]])
    assert configs.kept(project.resolve(), [[]]) is None


def test_what_is_damaged_is_composed_and_written_anew(project: Path, kept: Path) -> None:
    expected = said(project, [[]])
    [file] = kept.iterdir()
    whole = file.read_bytes()
    for damaged in (b"", whole[:-9], b"[]", b'{"places": 3}', b"\xff"):
        file.write_bytes(damaged)
        [config] = configs.compose(project, [[]])
        assert [(config.values, dict(config.origins), config.problems)] == expected
        assert file.read_bytes() == whole


def test_many_write_at_once_and_no_more_is_kept_than_wanted(
    project: Path, kept: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("runner.compose_cache.MOST_FILES", 2)
    hydras.compose(project, [[]])
    known = configs.compose_cache.identity(configs.config_folders(project.resolve()))
    assert known is not None
    stored = configs.compose_cache.load(known, ())
    assert stored is not None

    def keep(number: int) -> bool:
        configs.compose_cache.save(known, [f"model={number % 5}"], stored)
        return configs.compose_cache.load(known, [f"model={number % 5}"]) in (stored, None)

    with ThreadPoolExecutor(4) as pool:
        assert all(pool.map(keep, range(40)))
    configs.compose_cache.save(known, ["last"], stored)
    assert [path.suffix for path in kept.iterdir()] == [".json"] * 2
