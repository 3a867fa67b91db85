"""What a kernel is made from."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from rlm.text.bounded import Quota


@dataclass(frozen=True, slots=True)
class KernelSpec:
    """How to start a kernel.

    Args:
        cwd: working directory of cells.
        env: the complete environment of cells. Holds no credential.
        run_dir: private folder (0700) for sockets; its path has at most 80 bytes.
        outputs: folder for pictures and for outputs that are too long; made when needed.
        quota: what outputs may take on disk.
        max_output: characters of a result, -1 for no limit.
        context: what cells get under the name `context`: an object's pickle, or a text file. Loaded when first used.
        program: what to run instead of forking the kernel from a warm process; the path of its launch file is appended.
        sandbox_handle: asks for the handle of a sandbox, as `rlm.inside.enter_sandbox` takes it; None: there is none.
    """

    cwd: Path
    env: Mapping[str, str]
    run_dir: Path
    outputs: Path
    max_output: int = -1
    quota: Quota | None = None
    context: tuple[Literal["pickle", "file"], Path] | None = None
    program: tuple[str, ...] = ()
    sandbox_handle: Callable[[], Awaitable[str]] | None = None
