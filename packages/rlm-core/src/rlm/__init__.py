"""rlm: a coding agent with one main tool, a persistent IPython kernel, from which it can call itself.

`await rlm.run("task")` runs an agent: in a cell as a child of the cell's agent, elsewhere as a root of its own. `async
for record in rlm.stream("task")` does the same and yields its records. `await rlm("task")` is `rlm.run`; with a type
checker write `from rlm import rlm`, which is this module.
"""

from __future__ import annotations

import sys
from types import ModuleType
from typing import TYPE_CHECKING, Any

# The distribution rlm-skill adds rlm.skill to this package.
__path__ = __import__("pkgutil").extend_path(__path__, __name__)

if TYPE_CHECKING:
    from rlm.api import answer, budget, llm, map, run, run_sync, stream
    from rlm.batches.api import batch
    from rlm.batches.results import TaskResult
    from rlm.core.budget import Budget, Stop
    from rlm.core.messages import Usage
    from rlm.core.task import RunResult
    from rlm.errors import (
        AgentError,
        ConfigError,
        CredentialsError,
        McpError,
        ModelError,
        ModelUnavailable,
        RlmError,
        SessionError,
    )
    from rlm.host.host import Host

__all__ = [
    "AgentError",
    "Budget",
    "ConfigError",
    "CredentialsError",
    "Host",
    "McpError",
    "ModelError",
    "ModelUnavailable",
    "RlmError",
    "RunResult",
    "SessionError",
    "Stop",
    "TaskResult",
    "Usage",
    "answer",
    "batch",
    "budget",
    "llm",
    "map",
    "rlm",
    "run",
    "run_sync",
    "stream",
]

_HOMES = {
    "Budget": "rlm.core.budget",
    "Stop": "rlm.core.budget",
    "TaskResult": "rlm.batches.results",
    "batch": "rlm.batches.api",
    "RunResult": "rlm.core.task",
    "Usage": "rlm.core.messages",
    "answer": "rlm.api",
    "budget": "rlm.api",
    "llm": "rlm.api",
    "map": "rlm.api",
    "run": "rlm.api",
    "run_sync": "rlm.api",
    "Host": "rlm.host.host",
    "stream": "rlm.api",
}


def __getattr__(name: str) -> Any:
    """Import public names at their first use: `import rlm` in a cell must cost nothing."""
    if name not in __all__:
        raise AttributeError(f"module 'rlm' has no attribute {name!r}")
    if name == "rlm":
        return sys.modules[__name__]
    from importlib import import_module

    return getattr(import_module(_HOMES.get(name, "rlm.errors")), name)


def __dir__() -> list[str]:
    return __all__


class _Callable(ModuleType):
    def __call__(self, task: str, **options: Any) -> Any:
        return self.run(task, **options)


sys.modules[__name__].__class__ = _Callable

if TYPE_CHECKING:

    class _Rlm:
        """This module for type checkers, which do not know that a module can be called."""

        __call__ = staticmethod(run)
        answer = staticmethod(answer)
        batch = staticmethod(batch)
        budget = staticmethod(budget)
        llm = staticmethod(llm)
        map = staticmethod(map)
        run = staticmethod(run)
        run_sync = staticmethod(run_sync)
        stream = staticmethod(stream)
        AgentError = AgentError
        Budget = Budget
        ConfigError = ConfigError
        CredentialsError = CredentialsError
        Host = Host
        McpError = McpError
        ModelError = ModelError
        ModelUnavailable = ModelUnavailable
        RlmError = RlmError
        RunResult = RunResult
        SessionError = SessionError
        Stop = Stop
        TaskResult = TaskResult
        Usage = Usage

    rlm = _Rlm()
