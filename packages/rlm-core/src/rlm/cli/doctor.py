"""`rlm doctor`: check this set-up, and say how to fix its problems."""

from __future__ import annotations

import asyncio
import json
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import AsyncExitStack
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from rlm.cli import Interrupted
from rlm.cli.arguments import CommandLine
from rlm.cli.doctor_facts import CheckResult, network, platform_results, sandbox_contents, versions
from rlm.cli.signals import run_until_signal
from rlm.cli.streams import put, put_json
from rlm.config.child_env import child_environment
from rlm.config.credentials import hide_credentials, redactor_of
from rlm.config.environment import state_folder
from rlm.config.readers import SandboxMode
from rlm.config.settings import Config
from rlm.config.sources import read_config
from rlm.core import exit_codes
from rlm.errors import ConfigError, McpError, RlmError, SessionError
from rlm.host.factories import NO_KEY, mcp_clients, open_sandbox_policy
from rlm.kernel import JupyterKernel, KernelSpec
from rlm.present.humanize import listed
from rlm.process.limits import check_limits
from rlm.process.supervisor import Supervisor
from rlm.providers.catalog import ModelFacts, no_such_model
from rlm.providers.client import OpenAIClient, api_for
from rlm.providers.endpoint import Endpoint
from rlm.providers.errors import HTTPError, TransportError, judge
from rlm.sandbox import Sandbox
from rlm.sessions.signing_key import open_key
from rlm.skills import SkillSearch, find_skills, notes_for, one_line
from rlm.text.terminal import plain

if TYPE_CHECKING:
    from rlm.mcp import McpClients

LITTLE = 1_000_000_000
"""Free bytes on disk; with less, a long run may fail."""
_NO_LIST = (404, 405, 501)
_WANTS_A_POST = (400, 405, 415, 422)
LISTED = 20
"""Maximum number of the endpoint's models that are named."""


def run(line: CommandLine) -> int:
    """Check everything that a run needs, and print the results. Return 0 if all is well."""
    config = read_config(line.settings)
    well = True
    checks = (
        versions,
        platform_results,
        _limits,
        network,
        _credentials,
        _endpoint,
        _kernel,
        _mcp_servers,
        _sessions,
        _skills,
        _sandbox,
    )
    for check in checks:
        for result in check(config):
            if config.json:
                put_json(hide_credentials(json.dumps(result.wire()), config))
            else:
                put(plain(hide_credentials(str(result), config)))
            well = well and not result.fix
    return exit_codes.DONE if well else exit_codes.FAILED


def _limits(_: Config) -> Iterator[CheckResult]:
    try:
        check_limits()
    except ConfigError as error:
        yield CheckResult("limits", "of the system are too low", str(error))


def _credentials(config: Config) -> Iterator[CheckResult]:
    if config.recording:
        yield CheckResult("credentials", "not needed by a recording")
    elif config.api_key is None and config.base_url is None:
        yield CheckResult("credentials", "none", NO_KEY)
    else:
        yield CheckResult("credentials", "a key is set" if config.api_key else "no key, and none is sent")


def _endpoint(config: Config) -> Iterator[CheckResult]:
    if config.recording or (config.api_key is None and config.base_url is None):
        return
    where = Endpoint(config.base_url, config.api_key)
    api = api_for(where, config.api)
    try:
        models = run_until_signal(_models_of(where, config.api))
    except Interrupted:
        raise
    except Exception as error:  # noqa: BLE001 - exceptions of the SDK, httpx and the network are all results here
        yield _trouble(error, where, config)
        return
    no_list = f". It has no list of models; {api.path} is there" if models is None else ""
    text = f"{where.url} answers; rlm uses its API {api.name}{no_list}"
    yield CheckResult("endpoint", text, facts={"api": api.name, "models": list(models or ())})
    yield from _model(config.model, where, models or {})


def _trouble(error: Exception, where: Endpoint, config: Config) -> CheckResult:
    why = judge(error).reason if isinstance(error, HTTPError | TransportError) else f"{type(error).__name__}: {error}"
    reason = redactor_of(config).text(why).splitlines()[0][:200].rstrip(".")
    if not isinstance(error, HTTPError):
        return CheckResult("endpoint", f"{where.url} does not answer", f"{reason}. Check RLM_BASE_URL and the network.")
    fix = (
        "Check the path of RLM_BASE_URL: most end in /v1." if error.status == 404 else "Check RLM_BASE_URL and the key."
    )
    return CheckResult("endpoint", f"{where.url} answers with an error", f"{reason}. {fix}")


def _model(model: str, where: Endpoint, models: dict[str, ModelFacts]) -> Iterator[CheckResult]:
    if models and model not in models:
        yield CheckResult("model", no_such_model(model, where.host, list(models)), "Set RLM_MODEL.")
    else:
        window = models[model].window if model in models else None
        yield CheckResult("model", model + (f", a context of {window:,} tokens" if window else ""))
    if models:
        yield CheckResult("models", f"the endpoint has {listed(list(models), LISTED)}")


async def _models_of(where: Endpoint, api: str) -> dict[str, ModelFacts] | None:
    """Return the endpoint's models, or None if it has no list of them but accepts requests. The GET costs nothing.

    Raises:
        Exception: whatever went wrong.
    """
    async with asyncio.timeout(20), OpenAIClient(where, 0, api=api) as client:
        try:
            return await client.catalog.models()
        except HTTPError as fault:
            if fault.status not in _NO_LIST:
                raise
        try:
            await client.connection.get(client.api.path)
        except HTTPError as fault:
            if fault.status not in _WANTS_A_POST:
                raise
        return None


def _kernel(config: Config) -> Iterator[CheckResult]:
    try:
        text = run_until_signal(_cell(config))
    except RlmError as error:
        yield CheckResult("kernel", "does not start", str(error))
        return
    well = text.strip() == "42"
    yield CheckResult(
        "kernel", "starts and runs a cell" if well else "starts, but a cell fails", "" if well else text[:300]
    )


async def _cell(config: Config) -> str:
    environment = child_environment(config)
    async with AsyncExitStack() as stack:
        supervisor = stack.enter_context(Supervisor())
        folder = supervisor.folder
        policy = await stack.enter_async_context(open_sandbox_policy(config, Path.cwd(), supervisor, environment))
        sandbox = await stack.enter_async_context(Sandbox(policy, folder)) if policy else None
        spec = KernelSpec(
            Path.cwd(), environment, folder, folder / "outputs", sandbox_handle=sandbox.handle if sandbox else None
        )
        kernel = await stack.enter_async_context(JupyterKernel(spec, lambda _: None))
        return (await kernel.execute("6 * 7", 60)).text


def _mcp_servers(config: Config) -> Iterator[CheckResult]:
    """Start each MCP server and ask it for its tools, all at once."""
    if config.mcp:
        for name, found in run_until_signal(_tools_of(config)).items():
            if isinstance(found, str):
                yield CheckResult("mcp", f"{name} cannot be used", f"{found}. Change what --mcp or RLM_MCP names.")
            else:
                yield CheckResult("mcp", f"{name} has {found} tools", facts={"server": name, "tools": found})


async def _tools_of(config: Config) -> dict[str, int | str]:
    """For each server the number of its tools, or the reason why there are none."""

    async def count(clients: McpClients, server: str) -> int | str:
        try:
            return len((await clients.tools(server)).tools)
        except McpError as error:
            return str(error).removeprefix(f"{server}: ").rstrip(".")

    with Supervisor() as supervisor:
        clients = mcp_clients(replace(config, tools=("ipython",)), Path.cwd(), supervisor, ())
        assert clients is not None, "there are servers"
        async with clients:
            found = await asyncio.gather(*(count(clients, name) for name in config.mcp.names))
            return dict(zip(config.mcp.names, found, strict=True))


def _sessions(config: Config) -> Iterator[CheckResult]:
    home = config.home.absolute()
    there = next(folder for folder in (home, *home.parents) if folder.exists())
    try:
        tempfile.TemporaryFile(dir=there).close()  # noqa: TID251 - the file has no name
    except OSError as error:
        yield CheckResult(
            "sessions", f"{home} cannot be written: {error.strerror}", "Set RLM_HOME to a folder of yours."
        )
        return
    try:
        open_key(state_folder(), make=True)
    except SessionError as error:
        yield CheckResult("signatures", "sessions are not signed, so resuming them needs --trust", str(error))
    free = shutil.disk_usage(there).free
    state = f"{home}, {free / 1e9:,.0f} GB free"
    yield CheckResult(
        "sessions", state, "" if free > LITTLE else "The disk is nearly full: free disk space, or set RLM_HOME."
    )


def _skills(config: Config) -> Iterator[CheckResult]:
    """The same skills as `rlm skills` lists."""
    found, notes = find_skills(SkillSearch.of(config), afresh=True), notes_for(Path.cwd())
    broken = [skill for skill in found.installed if skill.broken]
    yield CheckResult("skills", f"{len(found.installed)} installed, {len(broken)} broken")
    for skill in broken:
        yield CheckResult(one_line(skill.name), "is broken", one_line(f"{skill.broken}"))
    for skill in found.installed:
        if skill.unread:
            yield CheckResult(one_line(skill.name), "has a SKILL.md that agents cannot read", one_line(skill.unread))
    if notes:
        wrong = sum(not note.offered for note in notes)
        yield CheckResult("instructions", f"{len(notes)} SKILL.md files, {wrong} broken")
    for note in notes:
        where = one_line(f"{note.path}: {note.trouble}")
        if not note.offered:
            yield CheckResult(note.name, "is broken", where)
        elif note.trouble:
            yield CheckResult(note.name, where, better=True)


def _sandbox(config: Config) -> Iterator[CheckResult]:
    """Check the sandbox even if it is not requested, so that a problem is known before it is needed."""
    wanted = config.sandboxed
    try:
        contents = run_until_signal(_try_sandbox(replace(config, sandbox=SandboxMode.BWRAP)))
    except ConfigError as error:
        if wanted:
            yield CheckResult("sandbox", "is unavailable", str(error))
        else:
            yield CheckResult("sandbox", f"off: the model's code runs with your permissions. To enable it: {error}")
        return
    yield CheckResult(
        "sandbox",
        "bwrap works" if wanted else "off: the model's code runs with your permissions. --sandbox works here",
        facts={"on": wanted},
    )
    yield from contents


async def _try_sandbox(config: Config) -> list[CheckResult]:
    with Supervisor() as supervisor:
        async with open_sandbox_policy(config, Path.cwd(), supervisor, child_environment(config)) as policy:
            return list(sandbox_contents(policy, config)) if policy else []
