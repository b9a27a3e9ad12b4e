"""compose: Hydra's own result, with the place of every value; mistakes are recorded and the rest goes on."""

from __future__ import annotations

import json
import textwrap
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml
from hydra import compose as hydra_compose
from hydra import initialize_config_dir
from hydra.core.override_parser.overrides_parser import OverridesParser
from hypothesis import given, settings
from hypothesis import strategies as st
from omegaconf import OmegaConf

from runner import compose as composing
from runner.compose import compose, expand, override
from runner.errors import ConfigError
from runner.spec import Config

ROOT = Path(__file__).resolve().parents[2]

# A project with what makes composing hard: packages, nested groups, interpolations, lists, deletions, anchors.
TREE = {
    "config.yaml": """
        defaults:
          - _self_
          - db: small
          - srv/auth: none
          - optional extra: null
          - experiment: null
        lr: 0.1
        name: run
        list: [1, 2, {a: 3}]
        nested: {a: {b: 1, c: [x, y]}, d: null}
        alias: ${nested.a}
        text: lr is ${lr}
        missing: ???
        """,
    "db/small.yaml": """
        host: local
        port: 1
        opts: &opts {retries: 2, wait: 3}
        more:
          <<: *opts
          wait: 4
        """,
    "db/big.yaml": """
        defaults: [small, _self_]
        port: 99
        opts: {pool: 5}
        """,
    "srv/auth/none.yaml": "kind: none\n",
    "srv/auth/key.yaml": "# @package srv.login\nkind: key\n",
    "extra/deep.yaml": "# @package nested.a\nz: 26\n",
    "experiment/e1.yaml": """
        # @package _global_
        defaults:
          - override /db: big
        lr: 0.5
        nested: {a: {b: 7}}
        """,
}


def write_tree(folder: Path, tree: Mapping[str, str]) -> Path:
    for name, text in tree.items():
        path = folder / "configs" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(textwrap.dedent(text).lstrip("\n"))
    return folder


@pytest.fixture
def tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr("runner.compose.packaged", lambda name: tmp_path / name)
    monkeypatch.setenv("AMLRUN_CACHE", str(tmp_path / "kept"))
    return write_tree(tmp_path, TREE)


def one(project: Path, *overrides: str) -> Config:
    return compose(project, [overrides])[0]


def problems(project: Path, *overrides: str) -> list[str]:
    return [str(problem) for problem in one(project, *overrides).problems]


def from_hydra(project: Path, *overrides: str) -> Any:
    with initialize_config_dir(str(project / "configs"), version_base=None):
        return OmegaConf.to_container(hydra_compose("config", list(overrides)), resolve=True)


CASES = [
    (),
    ("db=big",),
    ("experiment=e1",),
    ("experiment=e1", "db=small"),
    ("db=big", "db.port=7", "db.port=8"),
    ("lr=0.2", "nested.a.b=${lr}"),
    ("+new=1", "+nested.e={q:[1,2]}"),
    ("++lr=3", "++brand.new.key=x"),
    ("~nested.a.b",),
    ("~name=run",),
    ("list=[9]", "list.0=8"),
    ("list.2.a=5",),
    ("nested={a:{b:2}}", "nested.a.b=3"),
    ("list=null",),
    ("nested.a=5",),
    ("srv/auth=key",),
    ("~srv/auth",),
    ("extra=deep",),
    ("+extra@over.here=deep",),
    ("db={port:7}",),
    ("text='a, b=c'", 'name="it\'s"'),
    ("missing=1e-3",),
    ("hydra.job.name=x", "lr=1"),
    ("name=${oc.env:HOME}",),
    ("db=big", "db.opts.pool=6", "db.more.wait=1"),
]


@pytest.mark.parametrize("overrides", CASES, ids=" ".join)
def test_equals_hydra_and_every_leaf_has_a_place_that_holds_its_value(tree: Path, overrides: tuple[str, ...]) -> None:
    config = one(tree, *overrides)
    assert config.problems == ()
    assert config.values == from_hydra(tree, *overrides)
    check_places(tree, config)


def test_points_do_not_leak_into_each_other(tree: Path) -> None:
    points = [("lr=5", "nested.a.b=9", "list.0=7"), (), ("~nested.a.b",), ("+nested.a.new=1",), ()]
    assert [config.values for config in compose(tree, points)] == [from_hydra(tree, *point) for point in points]


def leaves(value: Any, path: tuple[str, ...] = ()) -> dict[tuple[str, ...], Any]:
    items: Any = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    found = {}
    for key, item in items:
        found |= leaves(item, (*path, str(key))) or {(*path, str(key)): item}
    return found


def check_places(tree: Path, config: Config) -> None:
    for path, value in leaves(config.values).items():
        place = config.origin(*path).value
        if place.kind == "override":
            assert place.source.removeprefix("override '").removesuffix("'") in config.overrides
            continue
        assert place.line is not None
        assert place.column is not None
        text = (tree / place.source).read_text().splitlines()[place.line - 1][place.column - 1 :]
        written = (
            yaml.safe_load(text.split("}")[0].split("]")[0].split(",")[0].split("#")[0])
            if text[0] not in "{["
            else None
        )
        assert written == value or text[0] in "{[*&$" or str(written).startswith(("${", "lr is")), (path, place, text)


def test_places(tree: Path) -> None:
    config = one(tree, "experiment=e1", "nested.a.c=[q]", "+new.deep=1")
    place = {".".join(path): str(origin.value) for path, origin in config.origins.items()}
    assert place["lr"] == "configs/experiment/e1.yaml:4:5"
    assert place["db.port"] == "configs/db/big.yaml:2:7"
    assert place["db.host"] == "configs/db/small.yaml:1:7"
    assert place["db.more.retries"] == "configs/db/small.yaml:3:23"  # where the anchor has it
    assert place["db.more.wait"] == "configs/db/small.yaml:6:9"
    assert place["nested.a.b"] == "configs/experiment/e1.yaml:5:17"
    assert place["nested.a.c.0"] == "override 'nested.a.c=[q]'"
    assert "nested.a.c.1" not in place
    assert place["new.deep"] == "override '+new.deep=1'"
    assert str(config.origin("db", "port").key) == "configs/db/big.yaml:2:1"
    assert not any(path.startswith("hydra") for path in place)


def test_choices_and_options(tree: Path) -> None:
    config = one(tree, "experiment=e1")
    assert config.choices == {"db": "big", "srv/auth": "none", "experiment": "e1"}
    assert config.options["db"] == ("big", "small")


def test_what_a_resolver_gave_is_pinned(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WHO", 'it\'s \\ "${x}" $HOME')
    config = one(tree, "name=${oc.env:WHO}", "+deep={a:[${oc.env:WHO},${lr}]}", "text=plain ${lr}")
    assert [text.split("=")[0] for text in config.frozen] == ["++name", "++deep.a.0"]
    monkeypatch.setenv("WHO", "somebody else")
    assert one(tree, *config.overrides, *config.frozen).values == config.values


@settings(deadline=None)
@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(st.characters(codec="utf-8")),
        lambda inner: (
            st.lists(inner, max_size=3) | st.dictionaries(st.from_regex(r"[a-z]{1,5}", fullmatch=True), inner)
        ),
        max_leaves=6,
    )
)
def test_override_round_trips_any_value(value: Any) -> None:
    parsed = OverridesParser.create().parse_overrides([override("key", value)])[0]
    cfg = OmegaConf.create({})
    OmegaConf.update(cfg, "key", parsed.value(), force_add=True)
    assert OmegaConf.to_container(cfg, resolve=True) == {"key": value}


@settings(deadline=None)
@given(st.lists(st.sampled_from(("\\", "${", "}", "'", '"', "b", "$", "\n", ",")), max_size=7).map("".join))
def test_override_round_trips_what_the_grammars_have_signs_for(text: str) -> None:
    parsed = OverridesParser.create().parse_overrides([override("key", text)])[0]
    assert OmegaConf.to_container(OmegaConf.create({"key": parsed.value()}), resolve=True) == {"key": text}


def test_every_mistake_is_recorded_and_the_rest_applied(tree: Path) -> None:
    config = one(
        tree, "lrr=1", "db=bigg", "foo", "lr=0.3", "nested.a.bb=1", "lr.x=1", "~gone", "name=a,b", "db={prt:1}"
    )
    assert [str(problem) for problem in config.problems] == [
        "override 'foo': not an override: it has no '='; write key=value",
        "override 'name=a,b': name: several values, but this is a single run; "
        "add -m to sweep over it; for a list write name=[a,b], for a text \"name='a,b'\"",
        "override 'db=bigg': db: no option 'bigg' in configs/db; did you mean 'big'? options: big, small",
        "override 'lrr=1': lrr: unknown key; did you mean 'lr'?",
        "override 'nested.a.bb=1': nested.a.bb: unknown key; did you mean 'nested.a.b'?",
        "override 'lr.x=1': lr.x: 'lr' is a value and has no keys; set 'lr' itself",
        "override '~gone': gone: not there, so it cannot be removed",
        "override 'db={prt:1}': db: unknown key 'prt' in its value; did you mean 'port'?",
    ]
    assert config.values["lr"] == 0.3
    assert config.values["db"]["port"] == 1


BROKEN = {
    "tab": ("db/small.yaml", "host:\n\tport: 1\n", "configs/db/small.yaml:2:1: not valid YAML"),
    "duplicate": (
        "db/small.yaml",
        "port: 1\nport: 2\n",
        "configs/db/small.yaml:2:1: not valid YAML: found duplicate key port",
    ),
    "conflict": (
        "db/small.yaml",
        "a: 1\n<<<<<<< HEAD\nb: 2\n",
        "configs/db/small.yaml:2:1: not valid YAML: a merge conflict marker; resolve",
    ),
    "python": (
        "db/small.yaml",
        "a: !!python/object/apply:os.system [ls]\n",
        "configs/db/small.yaml:1:4: not valid YAML",
    ),
    "choice": (
        "config.yaml",
        "defaults:\n  - _self_\n  - db: smal\n",
        "configs/config.yaml:3:9: db: no option 'smal' in configs/db; did you mean 'small'? options: big, small",
    ),
    "group": (
        "config.yaml",
        "defaults:\n  - _self_\n  - dbb: small\n",
        "configs/config.yaml:3:10: dbb: no such config group; did you mean 'db'? groups: db, ",
    ),
    "override": (
        "experiment/e1.yaml",
        "# @package _global_\ndefaults:\n  - override /dbb: small\n",
        "configs/experiment/e1.yaml:3:5: dbb: no such config group to override; did you mean 'db'?",
    ),
    "interpolation": ("db/small.yaml", "a: ${nope}\n", "configs/db/small.yaml:1:4: db.a: cannot be resolved"),
    "list": ("config.yaml", "- a\n- b\n", "configs/config.yaml:1:1"),
    "deep": ("db/small.yaml", "a: " + "[" * 3000, "configs/config.yaml:1:1: nested too deeply"),
}


@pytest.mark.parametrize("case", BROKEN)
def test_broken_files_are_said_with_their_place(tree: Path, case: str) -> None:
    name, text, expected = BROKEN[case]
    (tree / "configs" / name).write_text(text)
    found = problems(tree, *(["experiment=e1"] if case == "override" else []))
    assert expected in "\n".join(found)


def test_a_warning_that_is_not_hydras_is_no_note_of_ours(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As the SDK's threads give while a configuration is composed: warnings of all threads are caught."""
    inner = composing.create_defaults_list

    def with_a_warning(*args: Any, **options: Any) -> Any:
        warnings.warn("setDaemon() is deprecated", DeprecationWarning, stacklevel=1)
        return inner(*args, **options)

    monkeypatch.setattr(composing, "create_defaults_list", with_a_warning)
    monkeypatch.setenv("AMLRUN_CACHE", "off")  # what is composed here is composed anew

    assert problems(tree) == []


def test_a_wrong_choice_in_a_file_does_not_hide_what_else_is_wrong(tree: Path) -> None:
    (tree / "configs/experiment/e1.yaml").write_text("# @package _global_\ndefaults:\n  - override /db: bgi\n")
    assert problems(tree, "experiment=e1", "lrr=1") == [
        "configs/experiment/e1.yaml:3:19: db: no option 'bgi' in configs/db; did you mean 'big'? options: big, small",
        "override 'lrr=1': lrr: unknown key; did you mean 'lr'?",
    ]


def test_expand_is_hydras_sweep_grammar(tree: Path) -> None:
    points = expand(tree, ["lr=0.1,0.2", "nested.a.b=range(2)", "db=glob(*)", "name=x"])
    assert len(points) == 8
    assert points[0] == ["lr=0.1", "nested.a.b=0", "db=big", "name=x"]
    assert points[1] == ["lr=0.1", "nested.a.b=0", "db=small", "name=x"]


def test_expand_refuses_a_sweep_without_points(tree: Path) -> None:
    with pytest.raises(ConfigError) as refused:
        expand(tree, ["lr=interval(0,1)"])
    assert "an interval has no points to run" in str(refused.value)


def test_packaged_groups_fill_what_a_project_lacks(tmp_path: Path) -> None:
    project = write_tree(tmp_path, {"config.yaml": "defaults: [_self_, {optimizer: sgd}]\nname: mine\n"})
    config = one(project)
    assert config.problems == ()
    packaged = yaml.safe_load((ROOT / "configs/optimizer/sgd.yaml").read_text())
    assert config.values == {"name": "mine", "optimizer": packaged}


def test_project_files_win_over_packaged_ones(tmp_path: Path) -> None:
    tree = {"config.yaml": "defaults: [_self_, {optimizer: sgd}]\n", "optimizer/sgd.yaml": "mine: true\n"}
    assert one(write_tree(tmp_path, tree)).values == {"optimizer": {"mine": True}}


def test_values_are_json(tree: Path) -> None:
    (tree / "configs/db/small.yaml").write_text("1: a\ntrue: b\nwhen: 2020-01-01\n")
    config = one(tree)
    assert json.loads(json.dumps(config.values)) == config.values
