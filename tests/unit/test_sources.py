"""Signatures read from source against what Python itself says of the same source, construct by construct."""

from __future__ import annotations

import inspect
import sys
import textwrap
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

from runner.signatures import check_targets
from runner.sources import find_module, look_up, names_in, parameters

SOURCE = """
    import abc, enum, functools, typing
    import os.path as renamed
    from dataclasses import KW_ONLY, InitVar, dataclass, field
    from typing import ClassVar, Generic, NamedTuple, TypeVar

    T = TypeVar("T")
    annotated: int
    first, (second, *third) = 1, (2, 3)
    [fourth] = [4]
    walrus = (inner := 3)
    for looped in (1,):
        def in_for(a): ...
    with open(__file__) as handle:
        def in_with(a, b=1): ...
    match 1:
        case 1:
            def in_match(*, a): ...
    while True:
        def in_while(a): ...
        break
    try:
        from nowhere_at_all import in_handler
    except ImportError as problem:
        def in_handler(a=1): ...
    finally:
        in_finally = 1

    class KeywordsOnly:
        def __init__(self, *, depth, width=1): ...
    class Child(KeywordsOnly): ...
    class GrandChild(Child):
        def forward(self, x): ...
    class Both(KeywordsOnly, abc.ABC): ...
    class OfGeneric(Generic[T]):
        def __init__(self, a): ...
    class WithoutSelf:
        @staticmethod
        def make(a): ...
    class Positional:
        def __init__(self, a, /, b, c=1): ...
    class Varargs:
        def __init__(self, a, *args, b=2): ...
    class Conditional:
        if True:
            def __init__(self, a): ...
        else:
            def __init__(self, b): ...
    class Twice:
        def __init__(self, b): ...
        def __init__(self, a): ...
    class Borrowed:
        __init__ = KeywordsOnly.__init__
    class Called:
        def __call__(self, a): ...
    class Slots:
        __slots__ = ("a",)
    class Meta(metaclass=abc.ABCMeta):
        def __init__(self, a): ...
    class Passing(KeywordsOnly):
        def __init__(self, extra, *args, **kwargs):
            super().__init__(*args, **kwargs)
    class Tuple(NamedTuple):
        a: int
        b: int = 1
    class Colour(enum.Enum):
        RED = 1
    class Itself:
        def __init__(self, other: "Itself | None" = None): ...

    @dataclass
    class Fields:
        a: int
        b: int = field(default=1)
        c: list = field(default_factory=list)
        d: int = field(init=False, default=0)
        e: ClassVar[int] = 3
        f: typing.ClassVar[int] = 3
        _: KW_ONLY
        g: int = 2
        h: InitVar[int] = 3
        i = 4
    @dataclass(frozen=True)
    class Frozen:
        a: int
    @dataclass
    class MoreFields(Fields):
        j: int = 1

    def plain(a, b=1): ...
    async def waits(a): ...
    @functools.wraps(print)
    def wrapped(a): ...
    @typing.overload
    def overloaded(a: int): ...
    def overloaded(a, b=None, c=1): ...
    shorter = lambda a, b=1: a
    partial = functools.partial(plain, 1)
    def redefined(a): ...
    def redefined(b): ...
    globals()["dynamic"] = 1
"""
DEFINITIONS = (
    *(
        "KeywordsOnly",
        "Child",
        "GrandChild",
        "Both",
        "OfGeneric",
        "WithoutSelf",
        "Positional",
        "Varargs",
        "Conditional",
    ),
    *("Twice", "Borrowed", "Called", "Slots", "Meta", "Passing", "Tuple", "Itself", "Fields", "Frozen", "MoreFields"),
    *(
        "plain",
        "waits",
        "overloaded",
        "shorter",
        "redefined",
        "in_for",
        "in_with",
        "in_match",
        "in_while",
        "in_handler",
    ),
)
# What is surely read: the rest may be passed over, and none may be read wrongly.
READ = {*DEFINITIONS} - {"Borrowed", "Conditional", "Meta", "Tuple", "MoreFields", "shorter", "Itself"}
VARIABLES = (
    *(
        "annotated",
        "first",
        "second",
        "third",
        "fourth",
        "walrus",
        "inner",
        "looped",
        "handle",
        "in_finally",
        "partial",
    ),
    *("renamed", "abc", "functools", "field", "T", "Colour", "dynamic"),
)


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sources")
    (folder / "amlrun_sources").mkdir()
    (folder / "amlrun_sources/__init__.py").write_text("")
    (folder / "amlrun_sources/everything.py").write_text(textwrap.dedent(SOURCE))
    return folder


@pytest.fixture(scope="module")
def imported(project: Path) -> Any:
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(project))
        yield import_module("amlrun_sources.everything")
    for name in [name for name in sys.modules if name.startswith("amlrun_sources")]:
        del sys.modules[name]


@pytest.mark.parametrize("name", DEFINITIONS)
def test_what_is_read_is_what_python_says(project: Path, imported: Any, name: str) -> None:
    module = find_module("amlrun_sources.everything", (project,))
    assert module is not None
    taken = parameters(look_up(module, name))
    assert taken is not None or name not in READ
    if taken is None:
        return
    real = inspect.signature(getattr(imported, name)).parameters.values()
    by_name = [p for p in real if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)]
    needed = [p for p in real if p.default is p.empty and p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)]
    assert set(taken.names) == {p.name for p in by_name}
    assert set(taken.required) == {p.name for p in needed}
    assert taken.anything == any(p.kind is p.VAR_KEYWORD for p in real)


@pytest.mark.parametrize("name", [*DEFINITIONS, *VARIABLES])
def test_a_right_use_is_never_reported(project: Path, imported: Any, name: str) -> None:
    """Whatever Python would bind, with every argument by its name."""
    given: dict[str, Any] = {}
    if name in DEFINITIONS:
        real = inspect.signature(getattr(imported, name)).parameters.values()
        given = {p.name: 1 for p in real if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)}
        given |= {"_args_": [1]} if any(p.kind is p.POSITIONAL_ONLY for p in real) else {}
        given |= {"depth": 1} if name == "Passing" else {}
    values = {"code": {"root": "."}, "model": {"_target_": f"amlrun_sources.everything.{name}", **given}}
    assert list(check_targets(values, project)) == []


MORE = {
    "__init__.py": "from .a import *\nfrom . import b as also\nfrom .c.deep import Deep as Renamed\n__all__ = ['A']\n",
    "a.py": "from .b import B\nclass A(B):\n    def __init__(self, x, **kwargs): ...\nA2 = A\n",
    "b.py": "class B:\n    def __init__(self, y, z=1): ...\n",
    "c/deep.py": "from ..b import B\nfrom ... import nothing\nclass Deep(B): ...\n",
    "lazy.py": "def __getattr__(name): ...\n",
    "broken.py": "def broken(:\n",
    "latin.py": "# -*- coding: latin-1 -*-\nNAME = '\xe9'\ndef f(a): ...\n",
    "circle.py": "from .circle2 import X\n",
    "circle2.py": "from .circle import X\n",
    "itself.py": "class Loop(Loop): ...\n",
}


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("package")
    for name, text in MORE.items():
        (folder / "pack" / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / "pack" / name).write_text(text, encoding="latin-1")
    return folder


@pytest.mark.parametrize(
    ("target", "given", "said"),
    [
        ("pack.A", {"x": 1, "y": 1, "z": 1}, []),
        ("pack.A", {"x": 1, "w": 1}, ["warning model.w"]),
        ("pack.A", {}, ["error model.x"]),
        ("pack.a.A2", {"whatever": 1}, []),
        ("pack.Renamed", {"y": 1}, []),
        ("pack.Renamed", {"yy": 1}, ["error model.yy"]),
        ("pack.c.deep.Deep", {"y": 1}, []),  # a namespace package in between
        ("pack.also", {"whatever": 1}, []),
        ("pack.a", {}, []),  # a module: callable or not is not ours to say
        ("pack.lazy.anything", {"whatever": 1}, []),
        ("pack.broken.broken", {"whatever": 1}, []),
        ("pack.latin.f", {"a": 1}, []),
        ("pack.latin.f", {"b": 1}, ["error model.b", "error model.a"]),
        ("pack.circle.X", {"whatever": 1}, []),
        ("pack.itself.Loop", {"whatever": 1}, []),
        ("pack.gone.X", {}, ["error model._target_"]),
        ("pack.a.Gone", {}, ["error model._target_"]),
        ("pack.a.A.inner", {}, ["error model._target_"]),
        ("pack", {}, ["error model._target_"]),
        ("", {}, ["error model._target_"]),
        (".", {}, ["error model._target_"]),
        ("pack..A", {}, ["error model._target_"]),
        ("pack.a-b.A", {}, ["error model._target_"]),
        ("../pack.A", {}, ["error model._target_"]),
        ("builtins.len", {}, ["error model._target_"]),
        ("math.sqrt", {}, ["error model._target_"]),
    ],
)
def test_targets(package: Path, target: str, given: dict[str, Any], said: list[str]) -> None:
    found = check_targets({"code": {"root": "."}, "model": {"_target_": target, **given}}, package)
    assert [f"{finding.severity} {'.'.join(finding.path)}" for finding in found] == said


def test_names_of_a_package_are_those_of_its_stars_and_submodules(package: Path) -> None:
    module = find_module("pack", (package,))
    assert module is not None
    assert {"A", "A2", "B", "Renamed", "also", "a", "b", "lazy", "circle"} <= set(names_in(module))
    assert names_in(find_module("pack.circle", (package,))) == ["X"]  # type: ignore[arg-type]
