"""The tool `ipython`: a cell in the agent's persistent kernel."""

from __future__ import annotations

import asyncio
import base64
from pathlib import Path
from typing import Any

from rlm.core.history import History
from rlm.core.messages import Outcome, Schema
from rlm.core.ports import Kernel
from rlm.process import files
from rlm.tools.timeouts import call_timeout, max_timeout

_LARGEST = 5 << 20  # maximum bytes of a picture for the model; providers accept little more
_TYPES = {".png": "image/png", ".jpg": "image/jpeg", ".gif": "image/gif", ".webp": "image/webp"}


class IPython:
    """Run cells.

    Args:
        kernel: the kernel of the agent.
        timeout: default time limit in seconds.
        max_turns_in_context: if given, each result ends with the number of turns in the context and this maximum.
        images: send the pictures that cells show to the model.
    """

    name = "ipython"

    def __init__(
        self, kernel: Kernel, timeout: float, *, max_turns_in_context: int | None = None, images: bool = False
    ) -> None:
        self._kernel = kernel
        self._timeout = timeout
        self._max_turns = max_turns_in_context
        self._images = images

    def schema(self) -> Schema:
        return {
            "name": self.name,
            "description": "Run a cell in a persistent IPython kernel: variables, imports and functions stay. "
            "`!command`, `%%bash`, top-level `await` and `obj?` work. stdin is closed.",
            "parameters": {
                "type": "object",
                "properties": {
                    "code": {"type": "string"},
                    "timeout": {
                        "type": "number",
                        "description": f"seconds, at most {max_timeout(self._timeout):g}; default {self._timeout:g}",
                    },
                },
                "required": ["code"],
            },
        }

    async def run(self, arguments: dict[str, Any], history: History) -> Outcome:
        execution = await self._kernel.execute(arguments["code"], call_timeout(self.name, arguments, self._timeout))
        text = execution.text
        if self._max_turns is not None:
            break_ = "" if text.endswith("\n") else "\n"
            kept = min(len(history.live_turns()), self._max_turns)  # the oldest is dropped before the model reads this
            text = f"{text}{break_}[context turns: {kept}/{self._max_turns}]"
        pictures: tuple[str, ...] = ()
        if self._images and execution.pictures:
            pictures = await asyncio.to_thread(lambda: tuple(filter(None, map(_data_url, execution.pictures))))
        return Outcome(text, execution.ok, pictures, exit_status=execution.exit_status)


def _data_url(path: Path) -> str:
    """Return a picture as a `data:` URL. Empty if it is too large, of an unsupported type, or no longer readable."""
    kind = _TYPES.get(path.suffix)
    if kind is None:
        return ""
    try:
        return f"data:{kind};base64,{base64.b64encode(files.read(path, limit=_LARGEST)).decode()}"
    except OSError:
        return ""
