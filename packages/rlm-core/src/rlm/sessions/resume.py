"""The note for the model when a session is resumed: its kernel is fresh, and these names are lost."""

from __future__ import annotations

import ast
import re
import symtable
from collections.abc import Iterable, Sequence

from rlm.sessions.records import Journalled, KernelRecord, MessageRecord, ResumeRecord, UserCellRecord
from rlm.sessions.transcript import TranscriptCall, Turn, build, user_call

_SHELL = re.compile(r"(?m)^(\s*)[%!].*$")
_ASSIGNED = re.compile(r"(?m)^(\s*[\w, ]+=)\s*[%!].*$")
_TIMED = re.compile(r"(?m)^(\s*)%time\s+(?=\S)")
_CELL_MAGIC = re.compile(r"\s*%%(\w+)")
_RUN_IN_NAMESPACE = ("time", "capture", "prun")
"""Cell magics whose body is Python and binds names."""
_HELP = re.compile(r"(?m)^.*\?\s*$")


def cells(records: Iterable[Journalled]) -> list[TranscriptCall]:
    """Return the cells that ran, the model's and the user's, in order, with their results."""
    ran: list[TranscriptCall] = []
    for item in build(records):
        if isinstance(item, Turn):
            ran += [call for call in item.calls if call.tool == "ipython" and call.code]
        elif isinstance(item, UserCellRecord):
            ran.append(user_call(item))
    return ran


def untold_cells(records: Iterable[Journalled]) -> list[UserCellRecord]:
    """Return the user's cells of earlier runs that the model has not seen, because no task followed them."""
    untold: list[UserCellRecord] = []
    of_earlier_runs: list[UserCellRecord] = []
    for record in records:
        match record:
            case ResumeRecord():
                of_earlier_runs = list(untold)
            case MessageRecord(message={"role": "user"}, kind="", anew=False):
                untold.clear()
            case UserCellRecord(told=True):
                untold.append(record)
    return of_earlier_runs


def names_gone(records: Sequence[Journalled]) -> list[str]:
    """Return the names that the cells assigned since the kernel's last restart, in order."""
    restart = max((record.id for record in records if isinstance(record, KernelRecord)), default=-1)
    since = (call for call in cells(records) if call.answer is not None and call.answer > restart)
    return list(dict.fromkeys(name for call in since for name in assigned(call.code)))


def assigned(code: str) -> list[str]:
    """Return the names that a cell binds in the notebook's namespace; none if it cannot be parsed."""
    magic = _CELL_MAGIC.match(code)
    if magic and magic[1] not in _RUN_IN_NAMESPACE:
        return []
    code = _TIMED.sub(r"\1", code)
    code = _HELP.sub("", _SHELL.sub(r"\1pass", _ASSIGNED.sub(r"\1 0", code)))
    try:
        code = ast.unparse(_WithoutComprehensions().visit(ast.parse(code)))
        table = symtable.symtable(code, "cell", "exec")
    except (SyntaxError, ValueError, RecursionError):
        return []
    bound = (symbol for symbol in table.get_symbols() if symbol.is_assigned() or symbol.is_imported())
    return [symbol.get_name() for symbol in bound if not symbol.get_name().startswith("_")]


class _WithoutComprehensions(ast.NodeTransformer):
    """Removes comprehensions: since Python 3.12 symtable counts their variables in the enclosing scope (PEP 709)."""

    def _only_its_bindings(self, node: ast.expr) -> ast.expr:
        bindings: list[ast.expr] = [each for each in ast.walk(node) if isinstance(each, ast.NamedExpr)]
        return ast.List(bindings, ast.Load())

    visit_ListComp = visit_SetComp = visit_DictComp = visit_GeneratorExp = _only_its_bindings


def kernel_note(names: Iterable[str], most: int = 60) -> str:
    """Return the note for the model: its variables are lost."""
    every = list(names)
    if not every:
        return "This session was resumed. The kernel is fresh: nothing is defined in it."
    shown = ", ".join(every[:most]) + (f" and {len(every) - most} more" if len(every) > most else "")
    return (
        "This session was resumed. The kernel is fresh, and names of earlier cells are lost: "
        f"{shown}. Define again what you need."
    )
