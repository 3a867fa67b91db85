"""Import the parts of ipykernel, IPython and jupyter_client that rlm uses, without the parts that it does not need.

For type checkers they are `Any`: these libraries annotate traits, and not the values of the attributes.
"""

from __future__ import annotations

import sys
from importlib import import_module
from typing import Any


def _get(module: str, name: str) -> Any:
    return getattr(import_module(module), name)


def _import_without_debugger() -> None:
    """Import ipykernel.debugger without debugpy, whose import costs more than the rest of a kernel's start.

    A cell can still import debugpy.
    """
    if "debugpy" in sys.modules:
        return
    blocked: dict[str, Any] = {"debugpy": None}  # with None in sys.modules an import fails
    sys.modules.update(blocked)
    try:
        import_module("ipykernel.debugger")
    finally:
        del sys.modules["debugpy"]


_import_without_debugger()

IPythonKernel = _get("ipykernel.ipkernel", "IPythonKernel")
IOPubThread = _get("ipykernel.iostream", "IOPubThread")
ZMQShellDisplayHook = _get("ipykernel.displayhook", "ZMQShellDisplayHook")
ZMQDisplayPublisher = _get("ipykernel.zmqshell", "ZMQDisplayPublisher")
ZMQInteractiveShell = _get("ipykernel.zmqshell", "ZMQInteractiveShell")
StdinNotImplementedError = _get("IPython.core.error", "StdinNotImplementedError")
UsageError = _get("IPython.core.error", "UsageError")
ProfileDir = _get("IPython.core.profiledir", "ProfileDir")
CachingCompiler = _get("IPython.core.compilerop", "CachingCompiler")
AutoFormattedTB = _get("IPython.core.ultratb", "AutoFormattedTB")
RepeatedFrames = _get("stack_data", "RepeatedFrames")
SList = _get("IPython.utils.text", "SList")
LSString = _get("IPython.utils.text", "LSString")
Session = _get("jupyter_client.session", "Session")
json_default = _get("jupyter_client.jsonutil", "json_default")
IOLoop = _get("tornado.ioloop", "IOLoop")
Config = _get("traitlets.config", "Config")
Trait = _get("traitlets", "Any")
Type = _get("traitlets", "Type")
observe = _get("traitlets", "observe")
ZMQStream = _get("zmq.eventloop.zmqstream", "ZMQStream")
