"""Python source as data: modules found by path, names followed through imports, signatures read by `ast`."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from runner.paths import is_file, is_folder

Definition = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef
DEFINITIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
# What holds statements that run with those around it.
BLOCKS = (ast.If, ast.Try, ast.With, ast.For, ast.While, ast.Match, ast.match_case, ast.ExceptHandler)
# Annotations and values of a dataclass that its `__init__` takes nothing for.
NO_ARGUMENT = re.compile(r"\bClassVar\b|\bKW_ONLY\b|\bfield\(.*\binit=False")
DEEPEST = 8  # imports and base classes followed


@dataclass(frozen=True, slots=True)
class Module:
    """A module's file; `folders` are where its top-level package may lie, `name` is its full name."""

    name: str
    file: Path
    folders: tuple[Path, ...]

    @property
    def package(self) -> str:
        return self.name if self.file.name == "__init__.py" else self.name.rpartition(".")[0]


@dataclass(frozen=True, slots=True)
class Symbol:
    """A name of a module. `node` is None for what is there but is no function or class (a variable, a module)."""

    module: Module
    node: Definition | None


@dataclass(frozen=True, slots=True)
class Parameters:
    """What can be given by keyword. `anything`: it takes **kwargs; `reached` are the names these are known to reach."""

    names: tuple[str, ...]
    required: tuple[str, ...]
    anything: bool
    reached: tuple[str, ...] = ()


def find_module(name: str, folders: tuple[Path, ...]) -> Module | None:
    """The source file of a module, without importing it or its parents."""
    if not name or not all(part.isidentifier() for part in name.split(".")):
        return None
    for folder in folders:
        path = folder.joinpath(*name.split("."))
        for file in (path / "__init__.py", path.with_suffix(".py")):
            if is_file(file):
                return Module(name, file, folders)
        if is_folder(path) and "." in name:
            return Module(name, path, folders)  # a namespace package
    return None


def look_up(module: Module, name: str, depth: int = 0) -> Symbol | None:
    """A name of a module, followed through `from ... import`. None where the module surely lacks it."""
    tree = parse(module.file)
    if tree is None or depth > DEEPEST:
        return Symbol(module, None)
    for node, names in bindings(tree):
        if isinstance(node, ast.ImportFrom):
            found = through_import(module, node, name, depth)
            if found is not None:
                return found
        elif name in names:
            return Symbol(module, node if isinstance(node, DEFINITIONS) and node.name == name else None)
    if find_module(f"{module.name}.{name}", module.folders) or has_getattr(tree):
        return Symbol(module, None)
    return None


def names_in(module: Module, depth: int = 0) -> list[str]:
    """Public names of a module, star imports and submodules included."""
    found: list[str] = []
    for node in statements(parse(module.file) or ast.Module([], [])):
        if isinstance(node, DEFINITIONS):
            found.append(node.name)
        elif isinstance(node, ast.ImportFrom) and depth < DEEPEST:
            source = imported_from(module, node)
            for alias in node.names:
                found += names_in(source, depth + 1) if alias.name == "*" and source else [alias.asname or alias.name]
        else:
            found += assigned(node)
    folder = module.file.parent if module.file.name == "__init__.py" else module.file
    if is_folder(folder):
        found += [path.stem for path in folder.glob("*.py")] + [
            path.parent.name for path in folder.glob("*/__init__.py")
        ]
    return sorted({name for name in found if not name.startswith("_") and name != "*"})


def parameters(symbol: Symbol | None, depth: int = 0) -> Parameters | None:
    """Keyword parameters of a function, or of a class by its `__init__`, a base's, or its dataclass fields."""
    if symbol is None or symbol.node is None or depth > DEEPEST:
        return None
    if isinstance(symbol.node, ast.ClassDef):
        return of_class(symbol.module, symbol.node, depth)
    taken = of_function(symbol.node.args, skip=0)
    return reach(symbol, taken, depth) if taken.anything else taken


@lru_cache(maxsize=512)
def parse(file: Path) -> ast.Module | None:
    try:
        return ast.parse(file.read_bytes())
    except (OSError, SyntaxError, ValueError, RecursionError):
        return None


@lru_cache(maxsize=512)
def bindings(tree: ast.Module) -> list[tuple[ast.stmt, frozenset[str]]]:
    """The module's statements that bind names, the last one first, with these names (not those of `from` imports)."""
    found = []
    for node in reversed(list(statements(tree))):
        names = {*assigned(node), *([node.name] if isinstance(node, DEFINITIONS) else [])}
        if names or isinstance(node, ast.ImportFrom):
            found.append((node, frozenset(names)))
    return found


def statements(tree: ast.Module | ast.ClassDef) -> Iterator[ast.stmt]:
    """Statements of the module or class itself, those inside `if`, `try`, `with`, loops and `match` included."""
    todo: list[ast.AST] = list(reversed(tree.body))
    while todo:
        node = todo.pop()
        if isinstance(node, ast.stmt):
            yield node
        if isinstance(node, BLOCKS):
            todo += reversed([child for child in ast.iter_child_nodes(node) if isinstance(child, (ast.stmt, *BLOCKS))])


def through_import(module: Module, node: ast.ImportFrom, name: str, depth: int) -> Symbol | None:
    for alias in node.names:
        if name not in (alias.asname or alias.name, "*") and alias.name != "*":
            continue
        source = imported_from(module, node)
        if source is None:
            if alias.name == "*":
                continue
            return Symbol(module, None)
        found = look_up(source, name if alias.name == "*" else alias.name, depth + 1)
        if found is not None or alias.name != "*":
            return found or Symbol(source, None)
    return None


def imported_from(module: Module, node: ast.ImportFrom) -> Module | None:
    if node.level == 0:
        return find_module(node.module or "", module.folders)
    parts = module.package.split(".")
    kept = parts[: len(parts) - (node.level - 1)]
    return find_module(".".join([*kept, node.module] if node.module else kept), module.folders)


def assigned(node: ast.stmt) -> list[str]:
    """Names that a statement binds, but for those of definitions and of statements inside of it."""
    if isinstance(node, ast.Import):
        return [alias.asname or alias.name.partition(".")[0] for alias in node.names]
    inside = [part for part in ast.iter_child_nodes(node) if not isinstance(part, (ast.stmt, *BLOCKS))]
    names = [name for part in inside for name in ast.walk(part) if isinstance(name, ast.Name)]
    return [name.id for name in names if isinstance(name.ctx, ast.Store)]


@lru_cache(maxsize=512)
def has_getattr(tree: ast.Module) -> bool:
    """Whether the module may have names that only running it shows."""
    made = (name.id for name in ast.walk(tree) if isinstance(name, ast.Name))
    return any(getattr(node, "name", "") == "__getattr__" for node in statements(tree)) or "globals" in made


def of_function(args: ast.arguments, skip: int) -> Parameters:
    """`skip`: leading positional parameters that are not the caller's (self)."""
    positional = [*args.posonlyargs, *args.args]
    without = len(positional) - len(args.defaults)
    required = [a.arg for a in positional[skip:without]]
    required += [a.arg for a, default in zip(args.kwonlyargs, args.kw_defaults, strict=True) if default is None]
    names = [a.arg for a in args.args[max(0, skip - len(args.posonlyargs)) :]] + [a.arg for a in args.kwonlyargs]
    return Parameters(tuple(names), tuple(required), args.kwarg is not None)


def of_class(module: Module, node: ast.ClassDef, depth: int) -> Parameters | None:
    if node.keywords or any(isinstance(s, ast.FunctionDef) and s.name == "__new__" for s in node.body):
        return None
    for statement in reversed(list(statements(node))):
        if isinstance(statement, ast.FunctionDef) and statement.name == "__init__" and statement in node.body:
            taken = of_function(statement.args, skip=1)
            return taken if not taken.anything else through_bases(module, node, taken, depth)
        if "__init__" in (*assigned(statement), getattr(statement, "name", "")):
            return None  # borrowed, or one of several: which is known when it runs
    if any("dataclass" in ast.unparse(decorator) for decorator in node.decorator_list):
        return of_dataclass(node) if not node.bases else None
    if node.decorator_list:
        return None
    bases = [parameters(resolve(module, base), depth + 1) for base in node.bases]
    return bases[0] if bases else Parameters((), (), False)


def through_bases(module: Module, node: ast.ClassDef, taken: Parameters, depth: int) -> Parameters:
    """An `__init__` with **kwargs: they reach the base's, if it is known and closed."""
    if len(node.bases) != 1:
        return taken
    base = parameters(resolve(module, node.bases[0]), depth + 1)
    if base is None or (base.anything and not base.reached):
        return taken
    return Parameters(taken.names, taken.required, True, (*base.names, *base.reached))


def of_dataclass(node: ast.ClassDef) -> Parameters:
    fields = [s for s in node.body if isinstance(s, ast.AnnAssign) and isinstance(s.target, ast.Name)]
    fields = [s for s in fields if not NO_ARGUMENT.search(f"{ast.unparse(s.annotation)} = {unparsed(s.value)}")]
    names = tuple(s.target.id for s in fields if isinstance(s.target, ast.Name))
    required = tuple(s.target.id for s in fields if isinstance(s.target, ast.Name) and s.value is None)
    return Parameters(names, required, False)


def unparsed(node: ast.expr | None) -> str:
    return "" if node is None else ast.unparse(node)


def reach(symbol: Symbol, taken: Parameters, depth: int) -> Parameters:
    """A function with **kwargs that says it returns a class of its module: they reach that class's `__init__`."""
    node = symbol.node
    returns = node.returns if isinstance(node, ast.FunctionDef) else None
    made = parameters(resolve(symbol.module, returns), depth + 1) if returns is not None else None
    if made is None or (made.anything and not made.reached):
        return taken
    return Parameters(taken.names, taken.required, True, (*made.names, *made.reached))


def resolve(module: Module, node: ast.expr) -> Symbol | None:
    return look_up(module, node.id) if isinstance(node, ast.Name) else None
