"""Find where the host opens or changes a file by its path, and not through `rlm.process.files`.

ruff's banned API covers functions of modules. It does not cover methods of Path or builtins, and cannot recognize a
call by descriptor (`dir_fd=`), which is allowed. A line that must use a path gives the reason: `# by path: a constant
of the system`.

python tests/tools/file_access.py packages/rlm-core/src/rlm
"""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterator
from pathlib import Path

_METHODS = frozenset(
    {"read_text", "read_bytes", "write_text", "write_bytes", "mkdir", "rmdir", "unlink", "rename", "touch"}
    | {"symlink_to", "hardlink_to", "chmod"}
)
_OF_OS = frozenset(
    {"rename", "replace", "remove", "unlink", "link", "symlink", "truncate", "chmod", "chown", "mkdir", "makedirs"}
    | {"rmdir", "removedirs", "mkfifo", "mknod"}
)
_DESCRIPTORS = frozenset({"dir_fd", "src_dir_fd"})
_MODE = re.compile(r"[rwaxbt+]{1,3}")
_REASON = re.compile(r"# .*by path: \S")
_ELSEWHERE = ("inside/", "process/files/", "cli/demo/repository/")
"""Code in a kernel; the package `files` itself; the project of `rlm demo`."""


def opens_by_path(source: str) -> Iterator[tuple[int, str]]:
    """The line number and text of each call that names a file by its path."""
    lines = source.splitlines()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Call) and _opens(node) and not _REASON.search(lines[node.lineno - 1]):
            yield node.lineno, lines[node.lineno - 1].strip()


def _opens(call: ast.Call) -> bool:
    keywords = {keyword.arg for keyword in call.keywords}
    match call.func:
        case ast.Name("open"):
            return "closefd" not in keywords
        case ast.Attribute(ast.Name("os"), name):
            return name in _OF_OS and not keywords & _DESCRIPTORS
        case ast.Attribute(ast.Name("shutil"), "rmtree"):
            return not keywords & _DESCRIPTORS
        case ast.Attribute(ast.Name("files"), _):
            return False
        case ast.Attribute(_, "replace"):
            return len(call.args) == 1 and not keywords  # str.replace takes two arguments, dataclasses.replace keywords
        case ast.Attribute(_, "open"):
            return bool(keywords & {"mode", "encoding"}) or any(_is_mode(word) for word in call.args[:1])
        case ast.Attribute(_, name):
            return name in _METHODS
    return False


def _is_mode(word: ast.expr) -> bool:
    return isinstance(word, ast.Constant) and isinstance(word.value, str) and bool(_MODE.fullmatch(word.value))


def main(root: Path) -> int:
    found = 0
    for path in sorted(root.rglob("*.py")):
        if not path.relative_to(root).as_posix().startswith(_ELSEWHERE):
            for number, line in opens_by_path(path.read_text()):
                found += 1
                print(f"{path}:{number}: use rlm.process.files, or say why not (# by path: …): {line}")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
