"""The SDK is imported in less time, and behaves the same. Each case has its own process, because imports happen once."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest


def result_of(program: str, *more_path: Path) -> object:
    path = f"import sys; sys.path[:0] = {[str(folder) for folder in more_path]!r}\n"
    done = subprocess.run([sys.executable, "-c", path + program], capture_output=True, text=True, check=True)
    assert done.stderr == ""
    return json.loads(done.stdout)


PLAIN = "import openai as sdk\n"
LEAN = "from rlm.providers.lean_import import import_openai\nsdk = import_openai()\n"


def test_most_types_are_not_loaded_and_every_name_is_the_real_one_when_asked_for() -> None:
    """The types of every package are compared; the other endpoints of the SDK work, too."""
    program = """
import importlib, json, pkgutil, sys
loaded = sum(name.startswith("openai.types") for name in sys.modules)
import openai.types
client = sdk.OpenAI(api_key="x")
parts = [type(part).__name__ for part in (client.chat.completions, client.responses, client.beta.threads, client.files)]
from openai.types.chat import ChatCompletion
made = ChatCompletion.model_validate({
    "id": "1", "created": 1, "model": "m", "object": "chat.completion",
    "choices": [{"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": "hi"}}]})
names = {}
packages = [module for module in pkgutil.walk_packages(openai.types.__path__, "openai.types.") if module.ispkg]
for package in ["openai.types", *(module.name for module in packages)]:
    module = importlib.import_module(package)
    with open(module.__file__) as file:
        wanted = [line.split(" as ")[1].strip(" ,()\\n") for line in file if " as " in line and "import" in line]
    names |= {f"{package}.{name}": repr(getattr(module, name)) for name in wanted if name.isidentifier()}
print(json.dumps([loaded, [*parts, made.choices[0].message.content], names]))
"""
    plain, lean = result_of(PLAIN + program), result_of(LEAN + program)
    assert isinstance(plain, list)
    assert isinstance(lean, list)
    assert lean[0] < plain[0] / 2
    assert lean[1:] == plain[1:]
    assert plain[1][-1] == "hi"
    assert len(plain[2]) > 300


def test_a_missing_name_is_reported_as_usual() -> None:
    program = """
import json
try:
    from openai.types import Nonsense
except ImportError as error:
    print(json.dumps("Nonsense" in str(error)))
"""
    assert result_of(LEAN + program) is True


def test_the_import_hook_is_removed_afterwards() -> None:
    program = (
        "import json; print(json.dumps([type(f).__module__ for f in sys.meta_path if 'rlm' in type(f).__module__]))"
    )
    assert result_of(LEAN + program) == []


@pytest.fixture
def odd_sdk(tmp_path: Path) -> Path:
    """A fake SDK whose types do more than re-export names."""
    types = tmp_path / "openai" / "types"
    types.mkdir(parents=True)
    (tmp_path / "openai/__init__.py").write_text("from . import types\nfrom .types import COUNT, Thing\n")
    (types / "__init__.py").write_text("from .thing import *\nCOUNT = 1 + 1\n")
    (types / "thing.py").write_text("class Thing: pass\n")
    return tmp_path


def test_types_that_do_more_than_re_export_are_executed(odd_sdk: Path) -> None:
    program = """
import json
loader = type(sdk.types.__loader__).__module__
print(json.dumps([sdk.COUNT, sdk.Thing.__name__, sdk.types.Thing.__module__, loader]))
"""
    assert result_of(LEAN + program, odd_sdk) == [2, "Thing", "openai.types.thing", "rlm.providers.lean_import"]


def test_if_the_lean_import_is_impossible_the_sdk_is_imported_as_usual(odd_sdk: Path) -> None:
    """Here the SDK refuses to be imported by another loader."""
    (odd_sdk / "openai/__init__.py").write_text(
        "from . import types\nassert 'rlm' not in type(types.__loader__).__module__, 'lean'\nfrom .types import COUNT\n"
    )
    program = "import json; print(json.dumps(sdk.COUNT))"
    assert result_of(LEAN + program, odd_sdk) == 2


def test_a_broken_sdk_fails_as_usual(odd_sdk: Path) -> None:
    (odd_sdk / "openai/__init__.py").write_text("raise ImportError('no such luck')")
    program = (
        LEAN.replace("sdk =", "import json\ntry:\n    sdk =")
        + "except ImportError as error: print(json.dumps(str(error)))"
    )
    assert result_of(program, odd_sdk) == "no such luck"


def test_the_sdk_is_loaded_in_a_thread_and_not_on_the_loop() -> None:
    program = """
import asyncio, json, threading
loaded_by = []
class Spy:
    def find_spec(self, name, path=None, target=None):
        if name in ("openai", "openai.types", "httpcore", "httpcore2"):
            loaded_by.append(threading.current_thread() is threading.main_thread())
sys.meta_path.insert(0, Spy())
from rlm.providers.endpoint import Endpoint
from rlm.providers.client import OpenAIClient
async def main():
    async with OpenAIClient(Endpoint("http://127.0.0.1:9/v1")) as client:
        await client.open()
asyncio.run(main())
print(json.dumps(sorted(set(loaded_by))))
"""
    assert result_of(program) == [False]
