"""What Hydra and PyYAML refuse, in our words: each with its place, what is wrong, and what to do."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from runner.compose import compose, expand
from runner.errors import ConfigError
from tests.conftest import write

CONFIG = """\
defaults:
  - _self_
  - db: small
  - net/head: lin
  - exp: null
lr: 0.1
list: [1, {a: 2}]
nested: {a: {b: 1}}
empty: {}
nothing: null
"""
TREE = {
    "configs/config.yaml": CONFIG,
    "configs/db/small.yaml": "port: 1\n",
    "configs/db/big.yaml": "port: 2\n",
    "configs/net/head/lin.yaml": "w: 1\n",
    "configs/net/head/mlp.yaml": "w: 2\n",
    "configs/exp/first.yaml": "",
}
GRAMMAR = "not in Hydra's override grammar: "
QUOTE = "; quote values that hold spaces, commas or brackets: 'key=\"a, b\"'"
SEVERAL = "several values, but this is a single run; add -m to sweep over it; for a list write "

# An override and all that is said of it; the place is the override, always.
OVERRIDES: Mapping[str, str] = {
    "foo": "not an override: it has no '='; write key=value",
    "": "not an override: it has no '='; write key=value",
    "lr:1": "not an override: it has no '='; write key=value",
    "+lr": "not an override: it has no '='; write key=value",
    "lr=[1": GRAMMAR + "no viable alternative at input '[1'" + QUOTE,
    "lr={a:1": GRAMMAR + "no viable alternative at input '{a:1'" + QUOTE,
    "lr=choice(": GRAMMAR + "no viable alternative at input 'choice('" + QUOTE,
    "db=big lr=1": GRAMMAR + "mismatched input '=' expecting <EOF>" + QUOTE,
    "lr=1,2": "lr: " + SEVERAL + "lr=[1,2], for a text \"lr='1,2'\"",
    "++lr=range(3)": "lr: " + SEVERAL + "++lr=[range(3)], for a text \"++lr='range(3)'\"",
    "net/head=glob(*)": "net/head: " + SEVERAL + "net/head=[glob(*)], for a text \"net/head='glob(*)'\"",
    "lr=[choice(1,2)]": "lr: a sweep inside of a value has no points to run; let it be the whole value",
    "db={port:range(1,2)}": "db: a sweep inside of a value has no points to run; let it be the whole value",
    "lrr=1": "lrr: unknown key; did you mean 'lr'?",
    "nested.a.c=1": "nested.a.c: unknown key; keys of 'nested.a': b; a new one is added by +nested.a.c=1",
    "empty.x=1": "empty.x: unknown key; keys of 'empty': none; a new one is added by +empty.x=1",
    "zzz=1": "zzz: unknown key; keys here: lr, list, nested, empty, nothing, db, net; a new one is added by +zzz=1",
    "db.prt=1": "db.prt: unknown key; did you mean 'db.port'?",
    "db={prt:1}": "db: unknown key 'prt' in its value; did you mean 'port'?",
    "db={zz:1}": "db: unknown key 'zz' in its value; to add keys that are not there, write +db={zz:1}",
    "lr.x=1": "lr.x: 'lr' is a value and has no keys; set 'lr' itself",
    "nothing.x=1": "nothing.x: 'nothing' is a value and has no keys; set 'nothing' itself",
    "list.2=1": "list.2: 'list' is a list of 2, counted from 0; set 'list' itself",
    "+list.2=1": "list.2: 'list' is a list of 2, counted from 0; set 'list' itself",
    "list.x=1": "list.x: 'list' is a list of 2, counted from 0; set 'list' itself",
    "list.0.a=1": "list.0.a: 'list.0' is a value and has no keys; set 'list.0' itself",
    "list.1.aa=1": "list.1.aa: unknown key; did you mean 'list.1.a'?",
    "nested=[1]": "nested: cannot be set: cannot merge DictConfig with ListConfig",
    "+nested=1": "nested: cannot be set: could not append to config. An item is already at 'nested'.",
    "~gone": "gone: not there, so it cannot be removed",
    "~nested.a.c": "nested.a.c: not there, so it cannot be removed",
    "~nested.aa": "nested.aa: not there, so it cannot be removed; did you mean 'nested.a'?",
    "~lr=3": "lr: cannot be set: could not delete from config. The value of 'lr' is 0.1 and not 3.",
    "db=bgi": "db: no option 'bgi' in configs/db; did you mean 'big'? options: big, small",
    "db=1": "db: no option '1' in configs/db; options: big, small",
    "net/head=mpl": "net/head: no option 'mpl' in configs/net/head; did you mean 'mlp'? options: lin, mlp",
    "net=x": "net: no option 'x' in configs/net; the group has no options",
    "+db@x=bgi": "db: no option 'bgi' in configs/db; did you mean 'big'? options: big, small",
    "db=[big,smal]": "db: no option 'smal' in configs/db; did you mean 'small'? options: big, small",
    "db=null": "db: an option is named by text; to leave the group out write ~db",
    "~db=1": "db: an option to remove is named by text; write ~db",
    "~db=big": "db: not chosen, so it cannot be left out",
    "~db@x": "db@x: not chosen, so it cannot be left out",
    "db@x=big": "db@x: not in the defaults list, so there is nothing to replace; write +db@x=big",
    "+db=big": "db: in the defaults list already; write db=big",
    "+db=small": "db: in the defaults list already; write db=small",
    "++db=big": "db: '++' sets keys, not choices; write db=big",
    "hydra/launcher=none": "hydra/launcher: Hydra has no such option",
}

# A file chosen by `exp=x`, and what is said of it after its name. Line 1 says `# @package _global_`.
FILES: Mapping[str, tuple[str, str]] = {
    "choice": (
        "defaults: [{override /db: bgi}]",
        "2:27: db: no option 'bgi' in configs/db; did you mean 'big'? options: big, small",
    ),
    "choice of several": (
        "defaults: [{override /db: [big, smal]}]",
        "2:33: db: no option 'smal' in configs/db; did you mean 'small'? options: big, small",
    ),
    "group": (
        "defaults: [{/dbb: big}]",
        "2:19: dbb: no such config group; did you mean 'db'? groups: db, exp, net/head",
    ),
    "override": (
        "defaults: [{override /dbb: big}]",
        "2:13: dbb: no such config group to override; did you mean 'db'? groups: db, exp, net/head",
    ),
    "without a slash": (
        "defaults: [{override db: big}]",
        "2:13: exp/db: no such config group to override; write 'override /db'",
    ),
    "inner group": (
        "defaults: [{override /head: mlp}]",
        "2:13: head: no such config group to override; did you mean 'net/head'? groups: db, exp, net/head",
    ),
    "file": ("defaults: [/nothing]", "2:12: no file configs/nothing.yaml"),
    "itself": ("defaults: [itself, _self_]", "2:12: 'itself' would include itself; remove this line"),
    "number": ("defaults: [1]", "2:12: unsupported type in defaults : int"),
    "two in one": ("defaults: [_self_, {a: b, c: d}]", "2:20: too many keys in default item {'a': 'b', 'c': 'd'}"),
    "twice": ("defaults: [_self_, _self_]", "1:1: duplicate _self_ defined in exp/x"),
    "order": (
        "defaults: [{override /db: big}, {/db@q: small}]",
        "1:1: override 'db : big' is defined before 'db@q: small'.",
    ),
    "unfinished": ("lr: ${lr", "2:5: no viable alternative at input '${lr'"),
    "interpolation": (
        "nested: {a: {b: '${nope}'}}",
        "2:17: nested.a.b: cannot be resolved: interpolation key 'nope' not found; check the ${...} in its value",
    ),
    "resolver": (
        "lr: ${gone:1}",
        "2:5: lr: cannot be resolved: unsupported interpolation type gone; check the ${...} in its value",
    ),
    "list for a mapping": ("nested: [1]", "1:1: cannot merge DictConfig with ListConfig"),
    "duplicate": ("lr: 1\nlr: 2", "3:1: not valid YAML: found duplicate key lr"),
    "tab": (
        "nested:\n\ta: 1",
        "3:1: not valid YAML: found character '\\t' that cannot start any token; indent with spaces, not tabs",
    ),
    "two documents": (
        "lr: 1\n---\nlr: 2",
        "3:1: not valid YAML: but found another document; "
        "a configuration is one document: remove the '---' between them",
    ),
    "unclosed": ("list: [1,", "3:1: not valid YAML: expected the node content, but found '<stream end>'"),
    "alias": ("lr: *nope", "2:5: not valid YAML: found undefined alias 'nope'"),
    "mapping as a key": ("? [a, b]\n: 1", "2:3: not valid YAML: found unhashable key"),
    "conflict": (
        "lr: 1\n<<<<<<< HEAD\nlr: 2\n=======",
        "3:1: not valid YAML: a merge conflict marker; resolve the merge conflict in this file",
    ),
}

# What looks like one of the above and is right.
RIGHT_FILES = {
    "empty": "",
    "comment": "# nothing",
    "optional": "defaults: [{optional /db@q: gone}, _self_]",
    "removed": "defaults: [_self_, {override /db: null}]",
    "conflict in a text": "name: |\n  <<<<<<< HEAD\n  x",
    "escaped": "name: \\${lr",
    "two of a group": "defaults: [/db@q: small, _self_, {override /db: big}]",
}
RIGHT = ("lr=a b", "lr='a,b'", "lr=[1,2]", "+zzz=1", "nested=1", "list.1.a=3", "~db", "~db=small", "db=big", "~lr=0.1")


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = write(tmp_path_factory.mktemp("errors"), TREE)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("runner.compose.packaged", lambda name: folder / name)
        yield folder


@pytest.fixture(scope="module")
def said(project: Path) -> dict[str, list[str]]:
    points = [*OVERRIDES, *RIGHT]
    configs = compose(write(project, TREE), [[text] for text in points])
    return {text: [str(p) for p in config.problems] for text, config in zip(points, configs, strict=True)}


@pytest.mark.parametrize("text", OVERRIDES)
def test_an_override_that_is_refused(said: dict[str, list[str]], text: str) -> None:
    assert said[text] == [f"override '{text}': {OVERRIDES[text]}"]


@pytest.mark.parametrize("text", RIGHT)
def test_an_override_that_is_right(said: dict[str, list[str]], text: str) -> None:
    assert said[text] == []


def test_what_is_wrong_with_a_choice_does_not_hide_the_rest(project: Path) -> None:
    [config] = compose(project, [["~db=big", "db@x=big", "++net/head=mlp", "exp=null", "lrr=1", "db.port=3"]])
    assert [problem.path for problem in config.problems] == ["exp", "net/head", "db@x", "db", "lrr"]
    assert config.values["db"] == {"port": 3}


@pytest.mark.slow
def test_a_file_that_is_refused_and_its_right_neighbours(project: Path) -> None:
    """In one project, composed once: opening one takes longer than composing."""
    wrong = {f"configs/exp/x{n}.yaml": text.replace("itself", f"x{n}") for n, (text, _) in enumerate(FILES.values())}
    right = {f"configs/exp/y{n}.yaml": text for n, text in enumerate(RIGHT_FILES.values())}
    write(project, {name: f"# @package _global_\n{text}\n" for name, text in {**wrong, **right}.items()})
    configs = compose(project, [[f"exp={Path(name).stem}"] for name in {**wrong, **right}])
    found = {config.overrides[0][4:]: [str(problem) for problem in config.problems] for config in configs}
    for number, (name, (_, expected)) in enumerate(FILES.items()):
        text = expected.replace("itself'", f"x{number}'").replace("exp/x", f"exp/x{number}")
        assert found[f"x{number}"] == [f"configs/exp/x{number}.yaml:{text}"], name
    assert {name: found[f"y{number}"] for number, name in enumerate(RIGHT_FILES)} == {name: [] for name in RIGHT_FILES}


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({}, "configs/config.yaml: not found; a project has its defaults list there"),
        (
            {"config": "defaults: big\n"},
            "configs/config.yaml:1:11: invalid defaults list in 'config'",
        ),
        ({"config": "defaults: [{db: small}, {db: big}]\n"}, "configs/config.yaml:1:1: multiple values for db."),
        ({"config": "defaults: [{db: smal}]\n"}, "configs/config.yaml:1:17: db: no option 'smal' in configs/db"),
        (
            {"config": "defaults: [{db: '${nope}'}]\n"},
            "configs/config.yaml:1:17: error resolving interpolation",
        ),
        ({"config": "a: " + "{b: " * 500 + "1" + "}" * 500}, "configs/config.yaml:1:1: nested too deeply; reduce"),
    ],
)
def test_a_project_that_does_not_compose(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, files: dict[str, str], expected: str
) -> None:
    monkeypatch.setattr("runner.compose.packaged", lambda name: tmp_path / name)
    write(tmp_path, {"configs/db/small.yaml": "", "configs/db/big.yaml": ""})
    write(tmp_path, {f"configs/{name}.yaml": text for name, text in files.items()})
    [config] = compose(tmp_path, [[]])
    assert str(config.problems[0]).startswith(expected)
    assert all(problem.severity == "error" for problem in config.problems)


@pytest.mark.parametrize(
    ("content", "place"),
    [
        (b"a: 1\nb: \xe9\n", "2:4"),
        (b"a: 1\r\nb: \xff\r\n", "2:4"),
        (b"a: 1\rb: 2\rc: \xe9\r", "3:4"),
        ("é: ü\n".encode() + b"b: \xfc", "2:4"),
        ("a: 1\n".encode("utf-16"), "1:1"),
    ],
)
def test_a_file_that_is_not_utf8_is_named_with_its_first_wrong_byte(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: bytes, place: str
) -> None:
    monkeypatch.setattr("runner.compose.packaged", lambda name: tmp_path / name)
    write(tmp_path, {"configs/config.yaml": "defaults: [{db: small}]\n", "configs/db/big.yaml": ""})
    (tmp_path / "configs/db/small.yaml").write_bytes(content)
    [config] = compose(tmp_path, [[]])
    assert [str(problem) for problem in config.problems] == [
        f"configs/db/small.yaml:{place}: not UTF-8 text; save the file as UTF-8"
    ]


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (["lr=interval(0,1)"], ["lr: an interval has no points to run; use choice(...) or range(...)"]),
        (["lr=tag(a,interval(0,1))"], ["lr: an interval has no points to run; use choice(...) or range(...)"]),
        (["db=glob(z*)"], ["db: this sweep has no points; glob() matches options of a config group only"]),
        (["lr=range(3,3)"], ["lr: this sweep has no points; range() stops before its end"]),
        (
            ["lr=range(1,3),5", "db=[range(1,2)]"],
            [
                f"{key}: a sweep inside of a value has no points to run; let it be the whole value"
                for key in ("lr", "db")
            ],
        ),
        (["lr=1,2", "foo", "a=interval(0,1)"], ["not an override", "a: an interval has no points to run"]),
    ],
)
def test_a_sweep_that_has_no_points(project: Path, given: list[str], expected: list[str]) -> None:
    with pytest.raises(ConfigError) as refused:
        expand(project, given)
    lines = str(refused.value).splitlines()
    assert len(lines) == len(expected)
    for line, text in zip(lines, expected, strict=True):
        assert line.startswith("override '")
        assert text in line


def test_a_sweep_without_points_that_a_later_one_replaces_does_not_count(project: Path) -> None:
    assert expand(project, ["lr=range(3,3)", "lr=1,2"]) == [["lr=1"], ["lr=2"]]
