"""The part of `rlm doctor` that reports facts: versions, the platform, the network, the contents of a sandbox."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from rlm.config.environment import network_settings, program
from rlm.config.settings import Config
from rlm.present.humanize import listed
from rlm.process.programs import helper_environment
from rlm.sandbox import SandboxPolicy
from rlm.version import VERSION

_PACKAGES = ("openai", "httpx", "httpx2", "ipython", "ipykernel", "pyzmq", "msgspec", "cloudpickle", "mcp", "ray")
_PROGRAMS = {"bwrap": "--version", "git": "--version", "uv": "--version"}
_MOST_PATHS = 6
"""Maximum number of paths in a line."""


@dataclass(frozen=True, slots=True)
class CheckResult:
    """One check and its result. `fix` says what to do; it is empty if nothing is wrong.

    `better`: nothing is wrong, but an improvement is possible.

    `facts` holds the same result for programs.
    """

    subject: str
    state: str
    fix: str = ""
    better: bool = False
    facts: Mapping[str, Any] = field(default_factory=dict)

    def __str__(self) -> str:
        mark = "✗" if self.fix else "!" if self.better else "✓"
        return f"{mark} {self.subject:<12} {self.state}" + (f"\n  {'':<12} {self.fix}" if self.fix else "")

    def wire(self) -> dict[str, Any]:
        """The result as a line of `--json`."""
        return {"subject": self.subject, "ok": not self.fix, "state": self.state, "fix": self.fix, **self.facts}


def versions(_: Config) -> Iterator[CheckResult]:
    """Report the versions of rlm, Python, packages and programs."""
    python = f"{platform.python_implementation()} {platform.python_version()}"
    facts: dict[str, Any] = {"version": VERSION, "python": platform.python_version(), "prefix": sys.prefix}
    yield CheckResult("rlm", f"{VERSION}, {python} in {sys.prefix}", facts=facts)
    packages = {name: found for name in _PACKAGES if (found := _installed(name))}
    programs = {name: said for name, flag in _PROGRAMS.items() if (said := _version_of(name, flag))}
    parts = [f"{name} {found}" for name, found in packages.items()] + list(programs.values())
    yield CheckResult("versions", ", ".join(parts), facts={"packages": packages, "programs": programs})


def _installed(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _version_of(name: str, flag: str) -> str:
    """The first line of a program's version output; empty if the program is not installed."""
    found = program(name)
    if found is None:
        return ""
    try:
        done = subprocess.run(
            [found, flag],
            env=helper_environment(),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=10,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.decode(errors="replace").strip().partition("\n")[0]


def platform_results(_: Config) -> Iterator[CheckResult]:
    """Report the system, its processors and memory, and the user."""
    system = os.uname()
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    facts: dict[str, Any] = {
        "system": system.sysname,
        "release": system.release,
        "machine": system.machine,
        "distribution": _distribution(),
        "processors": os.cpu_count(),
        "memory": memory,
        "uid": os.getuid(),
    }
    where = ", ".join(filter(None, [f"{system.sysname} {system.release} {system.machine}", facts["distribution"]]))
    who = "root" if os.getuid() == 0 else f"user {os.getuid()}"
    yield CheckResult(
        "platform", f"{where}; {os.cpu_count()} processors, {memory / 1e9:,.0f} GB; as {who}", facts=facts
    )


def _distribution() -> str:
    try:
        return platform.freedesktop_os_release().get("PRETTY_NAME", "")
    except OSError:
        return f"macOS {platform.mac_ver()[0]}" if sys.platform == "darwin" else ""


def network(_: Config) -> Iterator[CheckResult]:
    """Report proxies and certificates from the environment."""
    settings = {name: _without_user(name, value) for name, value in network_settings().items() if value}
    facts = {"settings": settings}
    for name, path in settings.items():
        if name.upper() in ("SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE") and not os.access(path, os.R_OK):
            yield CheckResult(
                "network", f"{name} names {path}", "It cannot be read. Name another, or unset it.", facts=facts
            )
            return
    text = ", ".join(f"{name} {value}" for name, value in settings.items())
    yield CheckResult("network", text or "no proxy, and the usual certificates", facts=facts)


def _without_user(name: str, value: str) -> str:
    """Return a proxy URL without its user and password."""
    if not name.upper().endswith("_PROXY") or name.upper() == "NO_PROXY":
        return value
    try:
        parts = urlsplit(value)
        place = f"{parts.hostname}:{parts.port}" if parts.port else f"{parts.hostname}"
    except ValueError:
        return "is not a URL"
    return f"{parts.scheme}://{place}" if parts.hostname else "is set"


def sandbox_contents(policy: SandboxPolicy, config: Config) -> Iterator[CheckResult]:
    """Report what a cell in the sandbox can write and read."""
    writable = [str(source.target) for source, may in policy.layers if may]
    kept = [str(source.target) for source, may in policy.layers if not may]
    hidden = [str(place) for place in policy.hidden]
    shown = [str(source.target) for source in policy.readable]
    facts = {"writable": writable, "read_only": kept, "hidden": hidden, "shown": shown, "network": config.sandbox_net}
    but = f", but not {_listed(kept)}" if kept else ""
    yield CheckResult(
        "can write", f"in the sandbox: {_listed(writable)} and temporary folders of its own{but}", facts=facts
    )
    of_those = f"; of these, only {_listed(shown)} is visible" if shown else ""
    yield CheckResult("can read", f"in the sandbox: everything that you can, except {_listed(hidden)}{of_those}")
    reached = "everything that you can" if config.sandbox_net else "no network"
    yield CheckResult("can reach", f"in the sandbox: {reached}")


def _listed(paths: list[str]) -> str:
    here = f"{Path.cwd()}{os.sep}"
    return listed([path.removeprefix(here) for path in paths], _MOST_PATHS)
