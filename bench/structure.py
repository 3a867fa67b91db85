"""Count how easy rlm's code is to enter: `python -m bench.structure [--turn] [--peers FOLDER ...]`.

The counts are for rlm's packages, and for each other package that is named. Tests and the project that `rlm demo`
unpacks are left out:

* private helpers used once: functions whose name begins with one underscore and occurs once in their package, in
  percent of all functions (including methods);
* modules of fewer than 40 lines of code; blank lines, comments, docstrings and `__init__.py` do not count;
* class names that are given to more than one class;
* the mean and the longest function, in lines from `def` to the end.

With `--turn`, it also counts the functions of rlm that a warm turn with the cell `1+1` runs in the host's main thread.
An agent on an open host is asked, against a scripted server. From one turn to the next (`Compact.fit`),
sys.setprofile counts each call of a named function of rlm. A coroutine counts each time that it is resumed. The turn
with the fewest calls is reported.
"""

from __future__ import annotations

import argparse
import ast
import asyncio
import io
import sys
import tempfile
import tokenize
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import CodeType, FrameType

from rlm import Host
from rlm_testkit.scripted import Answer, Request, Scripted, call, text

OURS = tuple(Path(__file__).parents[1] / "packages" / name / "src" for name in ("rlm-core", "rlm-skill"))
FEW = 40
"""Lines of code; a module with fewer counts as small."""

_Function = ast.FunctionDef | ast.AsyncFunctionDef
_LAYOUT = {tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT, tokenize.ENDMARKER}


@dataclass(frozen=True, slots=True)
class Module:
    path: Path
    text: str
    tree: ast.Module

    @property
    def lines_of_code(self) -> int:
        tokens = tokenize.generate_tokens(io.StringIO(self.text).readline)
        spans = (range(t.start[0], t.end[0] + 1) for t in tokens if t.type not in _LAYOUT)
        return len({line for span in spans for line in span} - self._docstring_lines())

    def functions(self) -> Iterator[_Function]:
        yield from (node for node in ast.walk(self.tree) if isinstance(node, _Function))

    def classes(self) -> Iterator[str]:
        yield from (node.name for node in ast.walk(self.tree) if isinstance(node, ast.ClassDef))

    def names_read(self) -> Iterator[str]:
        for node in ast.walk(self.tree):
            if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load):
                yield node.id
            elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Load):
                yield node.attr

    def _docstring_lines(self) -> set[int]:
        """The lines of all strings that are statements."""
        return {
            line
            for node in ast.walk(self.tree)
            if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)
            for line in range(node.lineno, (node.end_lineno or node.lineno) + 1)
        }


@dataclass(frozen=True, slots=True)
class Figures:
    functions: int
    used_once: int
    modules: int
    small: int
    shared_class_names: tuple[str, ...]
    mean: float
    longest: int

    def row(self, name: str) -> str:
        once = 100 * self.used_once / self.functions
        return (
            f"| {name} | {once:.0f} | {self.small} of {self.modules} | {len(self.shared_class_names)} | "
            f"{self.mean:.1f} | {self.longest} |"
        )


HEAD = (
    "| | private helpers used once, % of functions | modules under 40 lines of code | class names with two meanings | "
    "mean function | longest |\n|---|---|---|---|---|---|"
)


def read_modules(folders: Sequence[Path]) -> list[Module]:
    left_out = {"tests", "repository"}  # `repository` is the project of `rlm demo`
    paths = [path for folder in folders for path in sorted(folder.rglob("*.py")) if not left_out & {*path.parts}]
    texts = [(path, path.read_text(encoding="utf-8")) for path in paths]
    return [Module(path, text, ast.parse(text)) for path, text in texts]


def count(modules: Sequence[Module]) -> Figures:
    functions = [function for module in modules for function in module.functions()]
    read = Counter(name for module in modules for name in module.names_read())
    once = [f for f in functions if f.name.startswith("_") and not f.name.startswith("__") and read[f.name] == 1]
    files = [module for module in modules if module.path.name != "__init__.py"]
    classes = Counter(name for module in modules for name in module.classes())
    lengths = [(f.end_lineno or f.lineno) - f.lineno + 1 for f in functions]
    return Figures(
        functions=len(functions),
        used_once=len(once),
        modules=len(files),
        small=sum(module.lines_of_code < FEW for module in files),
        shared_class_names=tuple(sorted(name for name, times in classes.items() if times > 1)),
        mean=sum(lengths) / len(lengths),
        longest=max(lengths),
    )


class TurnCounter:
    """Counts the calls of rlm's functions, turn by turn."""

    def __init__(self) -> None:
        self.turns: list[Counter[CodeType]] = []
        self._ours = str(OURS[0] / "rlm")

    def __call__(self, frame: FrameType, event: str, _: object) -> None:
        code = frame.f_code
        if event != "call" or not code.co_filename.startswith(self._ours):
            return
        if code.co_qualname == "Compact.fit":
            self.turns.append(Counter())
        if self.turns and not code.co_name.startswith("<"):
            self.turns[-1][code] += 1


def count_turn() -> Counter[CodeType]:
    """The number of calls of each function in a warm turn."""

    def script(request: Request) -> Answer:
        return text("done") if request.turn == 12 else call("ipython", code="1+1")

    async def ask(url: str, home: str) -> TurnCounter:
        counter = TurnCounter()
        async with Host(base_url=url, api_key="none", model="scripted", home=home) as host, host.open() as agent:
            sys.setprofile(counter)
            try:
                await agent.ask("go")
            finally:
                sys.setprofile(None)
        return counter

    with Scripted(script) as server, tempfile.TemporaryDirectory() as home:
        counter = asyncio.run(ask(server.url, home))
    return min(counter.turns[1:11], key=lambda turn: turn.total())  # without the first turn, which starts the kernel


def show_turn(turn: Counter[CodeType], *, names: bool) -> None:
    modules = {code.co_filename for code in turn}
    print(f"a warm turn with `1+1`: {turn.total()} calls, {len(turn)} functions, {len(modules)} modules")
    for code, times in sorted(turn.items(), key=lambda item: item[0].co_filename) if names else ():
        print(f"  {times:3} {Path(code.co_filename).relative_to(OURS[0] / 'rlm')}: {code.co_qualname}")


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.structure", description=__doc__.partition("\n")[0])
    parser.add_argument("--peers", nargs="*", default=[], type=Path, metavar="FOLDER", help="packages to compare with")
    parser.add_argument("--turn", action="store_true", help="also count what a warm turn runs")
    parser.add_argument("--names", action="store_true", help="also print what was counted")
    options = parser.parse_args()
    print(HEAD)
    for name, folders in (("rlm", list(OURS)), *((folder.name, [folder]) for folder in options.peers)):
        modules = read_modules(folders)
        figures = count(modules)
        print(figures.row(name))
        if options.names:
            print("classes:", *figures.shared_class_names)
            print("small:", *(f"{m.path.parent.name}/{m.path.name}" for m in modules if m.lines_of_code < FEW))
    if options.turn:
        show_turn(count_turn(), names=options.names)


if __name__ == "__main__":
    main()
