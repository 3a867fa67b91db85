"""`rlm doctor`: what is wrong with this set-up, and how to mend it."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from rlm.cli import exits
from rlm.cli.arguments import add_settings, parser, settings_given
from rlm.cli.streams import put
from rlm.config import Config, guest_environment, read_config
from rlm.errors import RlmError
from rlm.kernel import JupyterKernel, KernelSpec
from rlm.models.openai import Endpoint, OpenAIClient
from rlm.scratch import private_folder
from rlm.skill import installed_skills
from rlm.supplies import NO_KEY, REPLAY
from rlm.terminal import plain

LITTLE = 1_000_000_000
"""Bytes of free disk below which a long run may end badly."""


@dataclass(frozen=True, slots=True)
class Finding:
    """What was looked at, and how it is. `mend` says what to do; empty: it is well."""

    subject: str
    state: str
    mend: str = ""

    def __str__(self) -> str:
        mark = "✗" if self.mend else "✓"
        return f"{mark} {self.subject:<12} {self.state}" + (f"\n  {'':<12} {self.mend}" if self.mend else "")


def run(argv: Sequence[str]) -> int:
    """Look at everything that a run needs, say how it is; 0 when all is well."""
    made = parser("rlm doctor", "Say what is wrong with this set-up, and how to mend it.")
    add_settings(made)
    config = read_config(settings_given(made.parse_args(argv)))
    well = True
    for look in (_credentials, _endpoint, _kernel, _sessions, _skills, _sandbox):
        for finding in look(config):
            put(plain(str(finding)))
            well = well and not finding.mend
    return exits.DONE if well else exits.FAILED


def _credentials(config: Config) -> Iterator[Finding]:
    if config.model.startswith(REPLAY):
        yield Finding("credentials", "not needed by a recording")
    elif config.api_key is None and config.base_url is None:
        yield Finding("credentials", "none", NO_KEY)
    else:
        yield Finding("credentials", "a key is set" if config.api_key else "no key, and none is sent")


def _endpoint(config: Config) -> Iterator[Finding]:
    if config.model.startswith(REPLAY) or (config.api_key is None and config.base_url is None):
        return
    where = Endpoint(config.base_url, config.api_key)
    try:
        names = asyncio.run(_models_of(where))
    except Exception as error:  # noqa: BLE001 - the SDK's, httpx's and the network's are all answers here
        told = f"{type(error).__name__}: {error}".replace(config.api_key or "\0", "[redacted]").splitlines()[0]
        yield Finding("endpoint", f"{where.url} does not answer", f"{told[:200]}. Check RLM_BASE_URL and the network.")
        return
    if names and config.model not in names:
        some = ", ".join(names[:5])
        yield Finding("endpoint", f"{where.url} has no model {config.model}", f"Set RLM_MODEL; it has {some}, …")
    else:
        yield Finding("endpoint", f"{where.url} answers, model {config.model}")


async def _models_of(where: Endpoint) -> list[str]:
    async with asyncio.timeout(20), OpenAIClient(where, 0) as client:
        sdk = await client.open()
        return [model.id async for model in sdk.models.list()]


def _kernel(config: Config) -> Iterator[Finding]:
    try:
        text = asyncio.run(_cell(config))
    except RlmError as error:
        yield Finding("kernel", "does not start", str(error))
        return
    well = text.strip() == "42"
    yield Finding(
        "kernel", "starts and runs a cell" if well else "starts, but a cell fails", "" if well else text[:300]
    )


async def _cell(config: Config) -> str:
    with private_folder() as folder:
        spec = KernelSpec(Path.cwd(), guest_environment(config), folder, folder / "outputs")
        async with JupyterKernel(spec, lambda _: None) as kernel:
            return (await kernel.execute("6 * 7", 60)).text


def _sessions(config: Config) -> Iterator[Finding]:
    home = config.home.absolute()
    there = next(folder for folder in (home, *home.parents) if folder.exists())
    try:
        tempfile.TemporaryFile(dir=there).close()
    except OSError as error:
        yield Finding("sessions", f"{home} cannot be written: {error.strerror}", "Set RLM_HOME to a folder of yours.")
        return
    free = shutil.disk_usage(there).free
    state = f"{home}, {free / 1e9:,.0f} GB free"
    yield Finding("sessions", state, "" if free > LITTLE else "The disk is nearly full: make room, or set RLM_HOME.")


def _skills(_: Config) -> Iterator[Finding]:
    skills = installed_skills()
    broken = [skill for skill in skills if skill.broken]
    yield Finding("skills", f"{len(skills)} installed, {len(broken)} broken")
    for skill in broken:
        yield Finding(skill.name, "is broken", f"{skill.broken}")


def _sandbox(_: Config) -> Iterator[Finding]:
    yield Finding("sandbox", "off: what the model writes runs as you")
