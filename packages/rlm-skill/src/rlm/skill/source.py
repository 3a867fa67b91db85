"""Check a skill's code by its syntax tree, without importing it."""

import ast
import warnings
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from .docstring import read_docstring
from .finding import Finding, Level
from .plain import read_plain

_Function = ast.FunctionDef | ast.AsyncFunctionDef
_SCOPES = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)


def check_code(package: Path, name: str) -> list[Finding]:
    """Check a skill's package folder, in a source tree or installed.

    Args:
        package: The folder with `__init__.py` and `<name>.py`.
        name: The skill's name.
    """
    init, module = package / "__init__.py", package / f"{name}.py"
    if not package.is_dir():
        wrong = f"there is no package {name!r} here, so an empty wheel would be built"
        return [Finding(Level.BROKEN, package, wrong, f"src/{name}/__init__.py and src/{name}/{name}.py")]
    if not init.is_file():
        return [Finding(Level.BROKEN, init, "there is no such file", f"from .{name} import run")]
    init_tree, broken = _parse(init)
    module_tree, also_broken = _parse(module) if module.is_file() else (None, [])
    if broken or also_broken:
        return [*broken, *also_broken]
    found = []
    if not {"run", "*"} & set(_bound_names(init_tree.body)):
        wrong = f"`from {name} import run` would fail: the package does not offer `run`"
        found.append(Finding(Level.BROKEN, init, wrong, f"from .{name} import run", line=1))
    return [*found, *_check_home(init, init_tree, module, module_tree)]


def _parse(path: Path) -> tuple[ast.Module, list[Finding]]:
    nothing = ast.Module(body=[], type_ignores=[])
    try:
        with warnings.catch_warnings(action="ignore"):  # a warning about an invalid escape does not concern this check
            return ast.parse(read_plain(path)), []  # Python detects the file's declared encoding
    except SyntaxError as error:
        wrong = f"this is not valid Python: {error.msg}"
        return nothing, [Finding(Level.BROKEN, path, wrong, "valid Python", line=error.lineno)]
    except (ValueError, OSError, RecursionError, MemoryError) as error:
        return nothing, [Finding(Level.BROKEN, path, f"this cannot be read: {error}", "valid Python in UTF-8")]


def _check_home(init: Path, init_tree: ast.Module, module: Path, tree: ast.Module | None) -> list[Finding]:
    """Find the definition of `run`, which belongs in <name>.py, and check it."""
    home, body = (module, tree.body) if tree else (init, init_tree.body)
    runs = [node for node in body if isinstance(node, _Function) and node.name == "run"]
    found = [] if tree else [Finding(Level.INCOMPLETE, module, "there is no such file", "`run` in this file")]
    if runs:
        return [*found, *_check_run(home, runs[-1], _unimported(body))]
    if {"run", "*"} & set(_bound_names(body)):
        wrong = "`run` is defined elsewhere, which this check does not read"
        return [*found, Finding(Level.INCOMPLETE, home, wrong, "async def run(...) in this file", line=1)]
    write = 'async def run(query: str) -> str: """What it does."""'
    return [*found, Finding(Level.BROKEN, home, "there is no function `run`", write, line=1)]


def _check_run(path: Path, run: _Function, unimported: set[str]) -> list[Finding]:
    """Check `run`. `unimported` are the names that only a type checker imports."""
    spec = run.args
    parameters = [*spec.posonlyargs, *spec.args, *spec.kwonlyargs]
    found = []
    if isinstance(run, ast.FunctionDef):
        wrong = "`run` is not async, so `await` on it fails"
        found.append(Finding(Level.BROKEN, path, wrong, "async def run(...)", line=run.lineno))
    elif any(isinstance(node, ast.Yield) for node in _own_nodes(run)):
        wrong = "`run` is an async generator, so `await` on it fails"
        found.append(Finding(Level.BROKEN, path, wrong, "`return` with the whole result", line=run.lineno))
    for star, many in (("*", spec.vararg), ("**", spec.kwarg)):
        if many:
            wrong = f"the command has no flag for {star}{many.arg}: only a call in a notebook can give it"
            found.append(Finding(Level.ADVICE, path, wrong, "a parameter with a name and a type", line=many.lineno))
    for parameter in parameters:
        if parameter.arg == "help":
            wrong = "a parameter called `help` cannot be reached: --help prints the help"
            found.append(Finding(Level.BROKEN, path, wrong, "another name", line=parameter.lineno))
    return [
        *found,
        *_check_types(path, run, parameters),
        *_check_annotations(path, run, parameters, unimported),
        *_check_docs(path, run, parameters),
    ]


def _check_types(path: Path, run: _Function, parameters: list[ast.arg]) -> Iterator[Finding]:
    for parameter in parameters:
        if parameter.annotation is None:
            wrong = f"the parameter {parameter.arg!r} has no type"
            write = f"{parameter.arg}: str, or what it is"
            yield Finding(Level.INCOMPLETE, path, wrong, write, line=parameter.lineno)
    if run.returns is None:
        wrong = "`run` does not say what it returns"
        yield Finding(Level.INCOMPLETE, path, wrong, "-> str, or what it is", line=run.lineno)


def _check_annotations(
    path: Path, run: _Function, parameters: list[ast.arg], unimported: set[str]
) -> Iterator[Finding]:
    """Find annotations that the command line cannot evaluate."""
    annotations = [(parameter.lineno, parameter.annotation) for parameter in parameters]
    for line, annotation in (*annotations, (run.lineno, run.returns)):
        names = set(_names_in(annotation)) if annotation else set()
        for name in sorted(names & unimported):
            wrong = f"{name} is imported only under TYPE_CHECKING, so the command fails to read the annotation"
            yield Finding(Level.BROKEN, path, wrong, f"the import of {name} outside that `if`", line=line)
        if "Callable" in names and annotation is not run.returns:
            wrong = "a function cannot be passed on a command line"
            yield Finding(Level.INCOMPLETE, path, wrong, "a parameter of data: a name, a pattern, a path", line=line)


def _names_in(annotation: ast.expr) -> Iterator[str]:
    """Yield the names that an annotation uses, including the last part of a dotted name and names inside a string."""
    for node in ast.walk(annotation):
        match node:
            case ast.Name(id=name) | ast.Attribute(attr=name):
                yield name
            case ast.Constant(value=str(text)):
                with suppress(SyntaxError, ValueError, RecursionError, MemoryError):
                    yield from _names_in(ast.parse(text, mode="eval").body)


def _unimported(body: list[ast.stmt]) -> set[str]:
    """The names that are bound under `if TYPE_CHECKING` and nowhere else."""
    blocks = [node for node in body if isinstance(node, ast.If) and "TYPE_CHECKING" in _names_in(node.test)]
    rest = [node for node in body if node not in blocks]
    checked = {name for block in blocks for name in _bound_names(block.body)}
    return checked - set(_bound_names(rest)) - {name for block in blocks for name in _bound_names(block.orelse)}


def _own_nodes(run: _Function) -> Iterator[ast.AST]:
    """Yield the nodes of a function's body, without those of functions and classes inside it."""
    todo: list[ast.AST] = [*run.body]
    while todo:
        node = todo.pop()
        yield node
        if not isinstance(node, (*_SCOPES, ast.Lambda)):
            todo += ast.iter_child_nodes(node)


def _check_docs(path: Path, run: _Function, parameters: list[ast.arg]) -> Iterator[Finding]:
    doc = ast.get_docstring(run)
    if not doc:
        write = '"""What it does, and an `Args:` section with a line for each parameter."""'
        yield Finding(Level.INCOMPLETE, path, "`run` has no docstring", write, line=run.lineno)
        return
    documented = read_docstring(doc).args
    for parameter in parameters:
        if not documented.get(parameter.arg):
            wrong = f"the docstring does not explain {parameter.arg!r}"
            write = f"{parameter.arg}: what it is, under `Args:`"
            yield Finding(Level.INCOMPLETE, path, wrong, write, line=parameter.lineno)
    for stale in sorted(documented.keys() - {parameter.arg for parameter in parameters}):
        wrong = f"the docstring explains {stale!r}, which is not a parameter"
        yield Finding(Level.INCOMPLETE, path, wrong, "the parameters as they are", line=run.lineno)


def _bound_names(body: list[ast.stmt]) -> Iterator[str]:
    """Yield the names that a module binds at its top level, also inside `if`, `try` and `with`."""
    for node in body:
        match node:
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) | ast.ClassDef(name=name):
                yield name
            case ast.Import(names=aliases) | ast.ImportFrom(names=aliases):
                yield from (alias.asname or alias.name for alias in aliases)
            case ast.Assign(targets=targets):
                yield from (target.id for target in targets if isinstance(target, ast.Name))
            case ast.AnnAssign(target=ast.Name(id=name)):
                yield name
            case _:
                for inner in ("body", "orelse", "finalbody"):
                    yield from _bound_names(getattr(node, inner, []))
