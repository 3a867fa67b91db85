"""The IPython shell of a kernel. It differs from a notebook's: a model reads the output, and no user can type."""

from __future__ import annotations

import contextlib
import json
import re
import sys
from collections.abc import Callable, Iterator
from typing import Any

from rlm.inside import commands, packages
from rlm.inside.displays import WITHOUT_WINDOW, Tracebacks, Widgets
from rlm.inside.html_text import TABLE, html_text, table_size
from rlm.inside.jupyter import (
    LSString,
    ProfileDir,
    SList,
    Trait,
    Type,
    UsageError,
    ZMQDisplayPublisher,
    ZMQInteractiveShell,
    ZMQShellDisplayHook,
    observe,
)
from rlm.inside.loops import loop_hidden
from rlm.inside.output import PIECE

_LARGE = 4 * PIECE
_LONGEST_TRACEBACK = 16 << 20  # maximum characters that are sent as one message
_WANTED = re.compile(r"text/(plain|markdown|latex)|image/[\w.+-]+")
# the default repr of Python and of IPython, for an object without its own repr
_NO_TEXT = re.compile(r"<[\w.<>]+ (object( at 0x[0-9a-f]+)?|at 0x[0-9a-f]+)>")


class Profile(ProfileDir):
    """IPython's folder, private to this kernel: the user's profile is neither read nor created."""

    @observe("location")
    def _location_changed(self, change: Any) -> None:
        """Do nothing: the folder is created only when it is used."""


def slim(data: dict[str, Any]) -> dict[str, Any]:
    """Keep the forms of a displayed object that a model can read.

    A very long text is printed instead: prints are sent in pieces, so no process holds the whole text in one message.
    """
    wanted = {kind: value for kind, value in data.items() if _WANTED.fullmatch(kind)}
    if _NO_TEXT.fullmatch(str(wanted.get("text/plain", "<an object>"))):
        wanted |= _readable(data, wanted)
    html = str(data.get("text/html", ""))
    if size := table_size(html):
        wanted[TABLE] = size
        if len(html) <= _LARGE:  # kept for exports; the model reads the text
            wanted["text/html"] = html
    for kind, value in list(wanted.items()):
        if isinstance(value, str) and kind.startswith("text/") and len(value) > _LARGE:
            del wanted[kind]
            print(value)
    return wanted


def _readable(data: dict[str, Any], wanted: dict[str, Any]) -> dict[str, Any]:
    """Return a text from another form of an object, for an object without a useful repr."""
    if len(wanted) > ("text/plain" in wanted):  # Markdown, LaTeX, a picture
        return {"text/plain": ""}
    if text := html_text(str(data.get("text/html", ""))):
        return {"text/plain": text}
    if "application/json" in data:
        return {"text/plain": json.dumps(data["application/json"], indent=1, ensure_ascii=False, default=str)}
    if "application/javascript" in data:
        return {"text/plain": "[JavaScript, which no browser runs here]"}
    return {}


class DisplayHook(ZMQShellDisplayHook):
    def write_format_data(self, format_dict: dict[str, Any], md_dict: dict[str, Any] | None = None) -> None:
        with self.shell.kernel.own_streams():
            super().write_format_data(slim(format_dict), md_dict or {})

    def finish_displayhook(self) -> None:
        with self.shell.kernel.own_streams():
            super().finish_displayhook()


class DisplayPublisher(ZMQDisplayPublisher):
    def publish(self, data: dict[str, Any], metadata: dict[str, Any] | None = None, **options: Any) -> None:
        if not self.shell.widgets.keep(data):
            with self.shell.kernel.own_streams():
                super().publish(slim(data), metadata, **options)

    def clear_output(self, wait: bool = False) -> None:
        self.shell.widgets.forget()
        super().clear_output(wait)

    def publish_widgets(self) -> None:
        for text in self.shell.widgets.texts():
            self.publish({"text/plain": text})


class Shell(ZMQInteractiveShell):
    displayhook_class = Type(DisplayHook)
    display_pub_class = Type(DisplayPublisher)
    kernel = Trait()

    def __init__(self, **options: Any) -> None:
        self.widgets = Widgets()
        super().__init__(**options)

    def init_ipython_dir(self, ipython_dir: str | None) -> None:
        """Do nothing: see `Profile`."""

    def init_environment(self) -> None:
        """Do nothing: IPython's version would ask programs for colours. See `rlm.inside.launch`."""

    def init_magics(self) -> None:
        super().init_magics()
        _register_magics(self)

    def set_next_input(self, text: str, replace: bool = False) -> None:  # noqa: ARG002 - IPython's signature
        """Print the text that `%load` and `%recall` would put into the next cell, which no user sees here."""
        print(text)

    @contextlib.contextmanager
    def _tee(self, channel: str) -> Iterator[None]:  # noqa: ARG002 - IPython's signature
        """Do nothing: IPython would keep a copy of all output."""
        yield

    def run_cell(self, *args: Any, **options: Any) -> Any:
        """Run a cell without top-level await."""
        with loop_hidden():
            return super().run_cell(*args, **options)

    def reset(self, *args: Any, **options: Any) -> None:
        """Let `%reset` remove only the user's names: ours are added again."""
        super().reset(*args, **options)
        self.kernel.namespace.prepare(self.user_ns)

    def ask_exit(self) -> None:
        """Handle `exit` and `quit`."""
        self.kernel.ending = "the cell called exit()"

    # ---- figures

    def enable_gui(self, gui: str | None = None) -> None:
        """Do nothing: ipykernel's version needs an IPKernelApp, and would run a toolkit's event loop."""
        if gui is not None:
            print(f"%gui {gui} does nothing: there is no window here. Figures of matplotlib are shown inline.")

    def enable_matplotlib(self, gui: str | None = None) -> Any:
        chosen = (gui or "auto").lower()
        if chosen not in WITHOUT_WINDOW and not chosen.startswith("module://"):
            if chosen != "auto":
                print(f"%matplotlib {gui} would open a window, and there is no display: figures are shown inline.")
            gui = "inline"
        return super().enable_matplotlib(gui)

    # ---- commands

    def system(self, cmd: str) -> None:
        """Run `!cmd`. It returns nothing, so that IPython displays nothing."""
        self._run(self.var_expand(cmd, depth=1))

    system_piped = system

    def getoutput(self, cmd: str, split: bool = True, depth: int = 0) -> Any:
        """Run `x = !cmd`."""
        output, code = commands.capture(self.var_expand(cmd, depth=depth + 1))
        self._ended(code)
        return SList(output.splitlines()) if split else LSString(output)

    def run_cell_magic(self, magic_name: str, line: str, cell: str) -> Any:
        """Run `%%bash` without options like `!`. IPython passes the script by stdin, which its commands can read."""
        if magic_name in {"bash", "sh"} and not line.strip():
            self._run(cell)
            return None
        return super().run_cell_magic(magic_name, line, cell)

    def _run(self, command: str) -> None:
        """Run a shell command. Its output goes to the cell's output, which may be a `%%capture`."""
        ours = (self.kernel._stdout, self.kernel._stderr)
        redirected = (
            each if each not in ours and hasattr(each, "write") else None for each in (sys.stdout, sys.stderr)
        )
        self._ended(commands.run(command, *redirected))
        if packages.installs_elsewhere(command):
            print(packages.ELSEWHERE)

    def _ended(self, code: int) -> None:
        self.user_ns["_exit_code"] = code
        if code:
            self.kernel.multiplexer.fresh_line()
            print(f"[exit code: {code}]", file=self.kernel._stdout)

    # ---- errors

    def init_traceback_handlers(self, custom_exceptions: Any) -> None:
        super().init_traceback_handlers(custom_exceptions)
        self.InteractiveTB.__class__ = Tracebacks  # it exists already, and its arguments differ between versions

    def _get_exc_info(self, exc_tuple: Any = None) -> Any:
        """Set the error for `%debug` and `%tb`. A refused magic has nothing to debug: they keep the error before it."""
        before = {name: getattr(sys, name) for name in LAST_ERROR if hasattr(sys, name)}
        found = super()._get_exc_info(exc_tuple)
        if issubclass(found[0], UsageError):
            forget_error()
            sys.__dict__.update(before)
        return found

    def showtraceback(self, *args: Any, **options: Any) -> None:
        if isinstance(sys.exc_info()[1], MemoryError):
            self.kernel.reserve.release()
        with self.kernel.own_streams():
            super().showtraceback(*args, **options)

    def showsyntaxerror(self, *args: Any, **options: Any) -> None:
        full = isinstance(sys.exc_info()[1], MemoryError)
        with self.kernel.own_streams():
            super().showsyntaxerror(*args, **options)
            if full:  # Python 3.11's parser raises MemoryError when its stack is full
                print("The cell contains an expression that is nested too deeply.")

    def get_exception_only(self, exc_tuple: Any = None) -> str:
        """The text for an interrupted traceback. IPython would call the error's `str`, which may be what hung."""
        return f"{self._get_exc_info(exc_tuple)[0].__name__}\n"

    def _format_exception_for_storage(self, exception: BaseException, *_: Any, **__: Any) -> dict[str, Any]:
        """Return no traceback for `%notebook`: IPython would format each traceback a second time, and keep it."""
        return {"ename": type(exception).__name__, "evalue": "", "traceback": []}

    def _showtraceback(self, etype: type[BaseException], evalue: BaseException, stb: list[str]) -> None:
        if sum(map(len, stb)) > _LONGEST_TRACEBACK:
            print("\n".join(stb), file=sys.stderr)
            stb = []
        super()._showtraceback(etype, _Brief(evalue), stb)


LAST_ERROR = ("last_type", "last_value", "last_traceback", "last_exc")


def forget_error() -> None:
    for name in LAST_ERROR:
        sys.__dict__.pop(name, None)


class _Brief:
    """An exception with at most 1,000 characters of text; the traceback contains the whole text."""

    def __init__(self, error: BaseException) -> None:
        self._error = error

    def __str__(self) -> str:
        try:
            return str(self._error)[:1000]
        except Exception:  # noqa: BLE001 - the user's __str__ may do anything
            return f"<{type(self._error).__name__} without a text>"


# ---- magics that differ from a notebook's: `%pip`, and magics that cannot work here and print the reason

_NOBODY = "no user can type here"
_CANNOT = {
    "edit": f"%edit opens an editor, and {_NOBODY}. Write the file with %%writefile, or change it in Python.",
    "ed": f"%ed opens an editor, and {_NOBODY}. Write the file with %%writefile, or change it in Python.",
    "store": "%store saves nothing here. Save variables to files; with RLM_CHECKPOINT=1 rlm saves them itself.",
    "subshell": "%subshell: this kernel has no subshells.",
    "connect_info": "%connect_info: only rlm connects to this kernel.",
    "qtconsole": f"%qtconsole opens a window, and {_NOBODY}.",
}


def _register_magics(shell: Any) -> None:
    for name, why in _CANNOT.items():
        shell.register_magic_function(_refusal(why), "line", name)
    shell.register_magic_function(lambda line: _pdb(shell, line), "line", "pdb")
    shell.register_magic_function(lambda _: shell.display_pub.clear_output(), "line", "clear")
    shell.register_magic_function(lambda line: packages.pip(shell, line), "line", "pip")
    shell.register_magic_function(lambda line: _uv(shell, line), "line", "uv")


def _refusal(why: str) -> Callable[[str], None]:
    def refuse(_: str) -> None:
        raise UsageError(why)

    return refuse


def _pdb(shell: Any, line: str) -> None:
    """Accept `%pdb off`, and refuse `%pdb on`: nobody can use a debugger here."""
    if line.strip().lower() in {"off", "0"}:
        shell.call_pdb = False
    else:
        raise UsageError(f"%pdb opens a debugger at errors, and {_NOBODY}. Look at the traceback, or print.")


def _uv(shell: Any, line: str) -> None:
    """Run `%uv pip …` as `%pip …`, and everything else with uv itself."""
    first, _, rest = line.strip().partition(" ")
    if first == "pip":
        packages.pip(shell, rest)
    else:
        shell.system(f"uv {line}")
