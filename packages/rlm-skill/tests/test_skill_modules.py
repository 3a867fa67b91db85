"""Skills as callable modules, and their stand-ins, in this process and in a real kernel."""

from __future__ import annotations

import inspect
import pickle
import pydoc
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import import_module, reload, resources
from pathlib import Path
from textwrap import dedent
from typing import TYPE_CHECKING, Any

import cloudpickle
import pytest
from jupyter_client.blocking.client import BlockingKernelClient
from jupyter_client.manager import KernelManager
from rlm.skill import make_callable, preload

if TYPE_CHECKING:  # at run time only pytest imports conftest.py
    from tests.conftest import SkillBench

CODE = '''
"""The skill."""
imported = []

async def run(queries: list[str], limit: int = 3) -> str:
    """Search for things.

    Args:
        queries: What to look for.
        limit: How many at most.
    """
    return f"{queries} {limit}"
'''


PLAIN = pydoc.plaintext  # type: ignore[attr-defined]  # typeshed does not have it


class Notebook(dict[str, Any]):
    """A namespace, a folder of importable skills, and the counted calls."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.path = path
        self.calls: list[str] = []

    def write(self, name: str, code: str = CODE) -> None:
        package = self.path / name
        package.mkdir()
        (package / "__init__.py").write_text(f'"""Finds."""\nfrom .{name} import run\n')
        (package / f"{name}.py").write_text(dedent(code))

    def preload(self, *names: str) -> None:
        preload(names, self, self.calls.append)

    async def cell(self, code: str) -> Any:
        program = compile(code, "<cell>", "eval", flags=0x2000)  # ast.PyCF_ALLOW_TOP_LEVEL_AWAIT
        value = eval(program, self)
        return await value if inspect.iscoroutine(value) and program.co_flags & inspect.CO_COROUTINE else value


@pytest.fixture
def notebook(tmp_path: Path) -> Iterator[Notebook]:
    path, finders, modules = list(sys.path), list(sys.meta_path), set(sys.modules)
    sys.path.insert(0, str(tmp_path))
    yield Notebook(tmp_path)
    sys.path[:], sys.meta_path[:] = path, finders
    for name in set(sys.modules) - modules:
        del sys.modules[name]


async def test_nothing_is_imported_until_the_first_use(notebook: Notebook) -> None:
    notebook.write("finder")
    notebook.preload("finder")
    assert repr(notebook["finder"]) == "<skill 'finder', not imported yet>"
    assert not hasattr(notebook["finder"], "_repr_html_")
    assert "finder" not in sys.modules
    assert await notebook.cell("await finder(queries=['a'], limit=2)") == "['a'] 2"
    assert notebook["finder"] is sys.modules["finder"]


@pytest.mark.parametrize(
    "use",
    [
        "await finder(['a'])",
        "await finder.run(['a'])",
        "await __import__('finder')(['a'])",
        "await __import__('finder', fromlist=['run']).run(['a'])",
        "await __import__('importlib').import_module('finder').run(['a'])",
    ],
)
async def test_every_way_to_call_works_first_and_again_and_is_counted(notebook: Notebook, use: str) -> None:
    notebook.write("finder")
    notebook.preload("finder")
    assert await notebook.cell(use) == "['a'] 3"
    assert await notebook.cell(use) == "['a'] 3"
    assert notebook.calls == ["finder", "finder"]


def test_a_call_that_is_never_awaited_is_not_counted(notebook: Notebook) -> None:
    notebook.write("finder")
    notebook.preload("finder")
    notebook["finder"](["a"]).close()
    assert notebook.calls == []


def test_a_stand_in_has_the_signature_help_and_names_of_the_skill(notebook: Notebook) -> None:
    for read in (
        lambda finder: str(inspect.signature(finder)) == "(queries: list[str], limit: int = 3) -> str",
        lambda finder: "queries: What to look for." in pydoc.render_doc(finder, renderer=PLAIN),
        lambda finder: "async run(queries: list[str], limit: int = 3) -> str" in pydoc.plain(pydoc.render_doc(finder)),
        lambda finder: "run" in dir(finder),
        lambda finder: finder.__doc__ == "Finds." and finder.__name__ == "finder",
        inspect.ismodule,
        callable,
    ):
        if not (notebook.path / "finder").exists():
            notebook.write("finder")
        sys.modules.pop("finder", None)
        notebook.clear()
        notebook.preload("finder")
        assert read(notebook["finder"]), "read from its stand-in"
        import_module("finder")
        assert read(sys.modules["finder"]), "read from its module"


def test_setting_and_deleting_on_a_stand_in_reaches_the_skill(notebook: Notebook) -> None:
    notebook.write("finder")
    notebook.preload("finder")
    stand_in = notebook["finder"]
    stand_in.limit = 5
    assert sys.modules["finder"].limit == 5
    del stand_in.limit
    assert not hasattr(sys.modules["finder"], "limit")


def test_a_skills_module_is_otherwise_an_ordinary_one(notebook: Notebook) -> None:
    notebook.write("finder")
    notebook.preload("finder")
    finder = import_module("finder")
    assert type(finder.__loader__).__name__ == "SourceFileLoader"
    assert finder.__spec__ is not None
    assert finder.__spec__.loader is finder.__loader__
    assert inspect.getsource(finder).startswith('"""Finds."""')
    assert (resources.files(finder) / "finder.py").is_file()
    assert inspect.iscoroutinefunction(finder.run)


async def test_a_reloaded_skill_is_counted_once_a_call(notebook: Notebook) -> None:
    notebook.write("finder")
    notebook.preload("finder")
    finder: Any = import_module("finder")
    for _ in range(2):
        reload(finder)
        reload(sys.modules["finder.finder"])
        await finder(["a"])
    notebook.preload("finder")
    await finder(["a"])
    assert notebook.calls == ["finder"] * 3


def test_a_skill_survives_being_sent_to_another_process(notebook: Notebook) -> None:
    notebook.write("finder")
    notebook.preload("finder")
    stand_in = notebook["finder"]
    for dump in (pickle.dumps, cloudpickle.dumps):
        assert pickle.loads(dump(stand_in)) is sys.modules["finder"]
        assert pickle.loads(dump(sys.modules["finder"])) is sys.modules["finder"]


async def test_a_broken_skill_breaks_only_itself_with_its_own_traceback(notebook: Notebook) -> None:
    notebook.write("finder")
    notebook.write("broken", "def load() -> None:\n    raise RuntimeError('no key')\n\nload()\n")
    notebook.preload("broken", "finder")
    stand_in = notebook["broken"]
    for use in (stand_in, lambda: stand_in.run, lambda: dir(stand_in)):
        with pytest.raises(RuntimeError, match="no key") as caught:
            use()
        files = [str(entry.path) for entry in caught.traceback]
        own = [str(notebook.path / "broken" / name) for name in ("__init__.py", "broken.py", "broken.py")]
        assert files[-3:] == own
        assert not [file for file in files if "importlib" in file]
    assert await notebook.cell("await finder(['a'])") == "['a'] 3"


def test_a_repaired_skill_works_without_a_restart(notebook: Notebook) -> None:
    notebook.write("broken", "raise RuntimeError('no key')\n")
    notebook.preload("broken")
    with pytest.raises(RuntimeError):
        notebook["broken"]()
    (notebook.path / "broken" / "broken.py").write_text(CODE)
    notebook["broken"](["a"]).close()


def test_a_missing_skill_says_so_when_used(notebook: Notebook) -> None:
    notebook.preload("nowhere")
    with pytest.raises(ModuleNotFoundError, match="No module named 'nowhere'"):
        notebook["nowhere"]()


def test_preloading_again_leaves_what_is_there(notebook: Notebook) -> None:
    notebook.write("finder")
    notebook.write("other")
    notebook["finder"] = "mine"
    notebook.preload("finder", "other")
    hooks = len(sys.meta_path)
    del notebook["other"]
    notebook.preload("finder", "other")
    assert notebook["finder"] == "mine"
    assert "other" in notebook
    assert len(sys.meta_path) == hooks


async def test_a_skill_that_was_imported_before_is_made_callable_too(notebook: Notebook) -> None:
    notebook.write("finder")
    import_module("finder")
    notebook.preload("finder")
    finder: Any = sys.modules["finder"]
    assert await finder(["a"]) == "['a'] 3"
    assert notebook.calls == ["finder"]


def test_a_module_without_run_is_left_as_it_is(notebook: Notebook) -> None:
    (notebook.path / "plain.py").write_text("x = 1")
    plain = import_module("plain")
    make_callable(plain)
    assert not callable(plain)


def test_a_sync_run_is_counted_too(notebook: Notebook) -> None:
    notebook.write("plain", "def run(x: int) -> int:\n    return x + 1\n")
    notebook.preload("plain")
    assert notebook["plain"](1) == 2
    assert notebook.calls == ["plain"]


OBJECTS = {
    "partial": "import functools\n\n\nasync def say(text: str, n: int) -> str:\n    return text * n\n\n\n"
    "run = functools.partial(say, n=2)\n",
    "object": "class Say:\n    __hash__ = None\n\n    async def __call__(self, text: str) -> str:\n"
    "        return text * 2\n\n\nrun = Say()\n",
}


@pytest.mark.parametrize("kind", OBJECTS)
async def test_a_run_that_is_an_object_is_called_counted_and_has_flags(
    notebook: Notebook, bench: SkillBench, kind: str
) -> None:
    name = f"of{kind}"
    notebook.write(name, OBJECTS[kind])
    notebook.preload(name)
    assert await notebook.cell(f"await {name}('ab')") == "abab"
    assert notebook.calls == [name]
    bench.command(name)
    assert tuple(bench.call(name, "--text", "x")) == (0, "xx\n", "")


def test_the_hook_ignores_other_imports(notebook: Notebook) -> None:
    (notebook.path / "ordinary.py").write_text("def run(): pass")
    notebook.preload("finder")
    assert not callable(import_module("ordinary"))


PREAMBLE = """
from rlm.skill import preload
calls = []
preload(["say"], globals(), calls.append)
"""


@dataclass(frozen=True)
class Kernel:
    client: BlockingKernelClient

    def __call__(self, code: str) -> str:
        """Run a cell and return all of its output, including pages."""
        output: list[str] = []

        def keep(message: dict[str, Any]) -> None:
            content = message["content"]
            output.append(str(content.get("text") or content.get("data", {}).get("text/plain") or ""))
            output.extend(content.get("traceback", []))

        reply = self.client.execute_interactive(code, output_hook=keep, timeout=60, allow_stdin=False)
        output += [page["data"]["text/plain"] for page in reply["content"].get("payload", [])]
        return "\n".join(output)

    def complete(self, code: str) -> list[str]:
        return list(self.client.complete(code, reply=True, timeout=60)["content"]["matches"])


@pytest.fixture(scope="module")
def kernel() -> Iterator[Kernel]:
    manager = KernelManager()
    manager.start_kernel(stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    client = manager.blocking_client()
    client.start_channels()
    client.wait_for_ready(timeout=60)
    started = Kernel(client)
    started(PREAMBLE)
    yield started
    client.stop_channels()
    manager.shutdown_kernel(now=True)


def test_in_a_kernel_a_skill_is_called_read_and_completed(kernel: Kernel) -> None:
    assert "<skill 'say', not imported yet>" in kernel("say")
    assert "run" in kernel.complete("say.ru")[0]
    assert "say" in kernel.complete("sa")
    assert "names: Whom to greet first." in kernel("%colors nocolor\nsay?")
    assert "'hi'" in kernel("await say(text='hi')")
    assert "'hi'" in kernel("await say.run(text='hi')")
    assert "'hi'" in kernel("import say; await say(text='hi')")
    assert "'hi'" in kernel("from say import run; await run(text='hi')")
    assert "names: Whom to greet first." in kernel("help(say)")
    assert "text: str" in kernel("import inspect; inspect.signature(say)")
    assert "['say', 'say', 'say', 'say']" in kernel("calls")
