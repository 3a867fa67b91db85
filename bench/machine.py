"""The state of the machine, for the header."""

from __future__ import annotations

import os
import platform
import tempfile
import time
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from statistics import median

PACKAGES = ("openai", "httpx2", "httpx", "ipykernel", "jupyter_client", "ipython", "pyzmq")


def state() -> dict[str, str]:
    """The facts that a reader needs for a comparison."""
    return {
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
        "processor": _processor(),
        "cores": str(os.cpu_count()),
        "Python": platform.python_version(),
        **{name: found for name in PACKAGES if (found := _version(name))},
        "rlm": _version("rlm-core"),
        "fdatasync": f"{_sync():.2f} ms",
        "load": load(),
    }


def load() -> str:
    """The load of the last minute. Above the number of cores, other processes run too, and the seconds mean little."""
    return f"{os.getloadavg()[0]:.1f}"


def header(state: dict[str, str]) -> str:
    return " · ".join(f"{name} {value}" for name, value in state.items())


def _sync(times: int = 30) -> float:
    """Milliseconds to sync 4 KB to the disk of the temporary folder: rlm does this before each request."""
    took = []
    with tempfile.TemporaryFile(buffering=0) as file:
        for _ in range(times):
            began = time.monotonic()
            file.write(b"x" * 4096)
            os.fdatasync(file.fileno())
            took.append(time.monotonic() - began)
    return median(took) * 1000


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return "unknown"


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return ""
