"""Every setting of the table in `rlm.config` has its effect, as a flag and as a variable.

Settings that do not affect each other share a scenario. A scenario is run three times: without its settings, with all
of them as flags, and with all of them as variables.
"""

from __future__ import annotations

import base64
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
from rlm.config.settings import Config, flag, variable
from rlm_testkit.cli import BY_RESPONSES, Done, Json, Rlm
from rlm_testkit.pseudoterminal import PseudoTerminal
from rlm_testkit.sample import PICTURE
from rlm_testkit.scripted import (
    Answer,
    Request,
    Script,
    Scripted,
    always,
    by_turn,
    call,
    calls,
    error,
    in_order,
    text,
    usage,
)

PATH = "responses" if BY_RESPONSES else "chat/completions"
OTHER_API = "chat" if BY_RESPONSES else "responses"


@dataclass(frozen=True, slots=True)
class ScenarioRun:
    done: Done
    server: Scripted

    @property
    def first(self) -> Request:
        return self.server.requests[0]

    @property
    def system(self) -> str:
        return str(self.first.messages[0]["content"])

    @property
    def records(self) -> list[Json]:
        return self.done.session.records

    @property
    def types(self) -> set[str]:
        return {record["type"] for record in self.records}


@dataclass(frozen=True, slots=True)
class Effect:
    """With `value`, the result of `observed` is `changed`; otherwise `usual`. In a value, `{url}` is the server's URL."""

    value: str
    observed: Callable[[ScenarioRun], object]
    usual: object
    changed: object


def switched(observed: Callable[[ScenarioRun], object]) -> Effect:
    """The effect of a switch: the result of `observed` is true only if the switch is on."""
    return Effect("on", lambda run: bool(observed(run)), usual=False, changed=True)


@dataclass(frozen=True, slots=True)
class Scenario:
    """`script` gets whether the settings are used. `words` and `files` are the same in all three runs."""

    script: Callable[[bool], Script]
    effects: Mapping[str, Effect]
    words: tuple[str, ...] = ()
    files: Mapping[str, str] = field(default_factory=dict)


def scripted(*answers: Answer) -> Callable[[bool], Script]:
    return lambda is_set: in_order(*answers)


def bash(command: str) -> Answer:
    return call("bash", command=command)


def sent_tools(run: ScenarioRun) -> list[str]:
    return [tool["function"]["name"] for tool in run.first.body["tools"]]


def written(path: str) -> Callable[[ScenarioRun], str]:
    def observed(run: ScenarioRun) -> str:
        file = run.done.cwd / path
        return file.read_text().strip() if file.exists() else ""

    return observed


ASKING = Scenario(
    lambda is_set: always(text("the answer")),
    {
        "model": Effect("another", lambda run: run.first.body["model"], "gpt-4o", "another"),
        "api_key": Effect(
            "sk-of-the-other-pair",
            lambda run: run.first.headers["authorization"],
            "Bearer sk-of-the-first-pair",
            "Bearer sk-of-the-other-pair",
        ),
        "base_url": Effect("{url}/other", lambda run: run.first.path, f"/v1/{PATH}", f"/v1/other/{PATH}"),
        "model_params": Effect('{"top_p": 0.5}', lambda run: run.first.body.get("top_p"), None, 0.5),
        "append_to_system_prompt": Effect("Be kind.", lambda run: "Be kind." in run.system, usual=False, changed=True),
        "no_context_files": switched(lambda run: "Mind the gap." not in run.system),
        "tools": Effect("edit,bash", sent_tools, ["ipython", "summarize"], ["edit", "bash"]),
        "home": Effect("mine", lambda run: (run.done.cwd / "mine/sessions").is_dir(), usual=False, changed=True),
        "output": Effect("answer.txt", written("answer.txt"), "", "the answer"),
        "json": switched(lambda run: run.done.out.startswith("{")),
    },
    files={"AGENTS.md": "Mind the gap."},
)
FAILING = Scenario(
    lambda is_set: always(text("never asked for")),
    {
        "debug": switched(lambda run: "Traceback (most recent call last)" in run.done.err),
        "confirm": switched(lambda run: "--confirm asks at the prompt" in run.done.err),
    },
    words=("--model", "replay:nowhere"),
)
WORKING = Scenario(
    scripted(bash("printf %0200d 7"), bash("sleep 1"), *[bash("echo again")] * 3, text("the answer")),
    {
        "system_prompt_path": Effect("prompt.txt", lambda run: run.system == "Only this.", usual=False, changed=True),
        "verbose": switched(lambda run: "│" in run.done.err),
        "color": Effect("always", lambda run: "\x1b[" in run.done.err, usual=False, changed=True),
        "max_output": Effect("100", lambda run: "[… " in run.done.session.results[0], usual=False, changed=True),
        "exec_timeout": Effect(
            "0.2", lambda run: "timed out" in run.done.session.results[1], usual=False, changed=True
        ),
        "max_turns": Effect("4", lambda run: len(run.server.requests), 6, 5),
        "max_turns_in_context": Effect("2", lambda run: run.server.requests[3].turn, 3, 2),
    },
    words=("--tools", "bash"),
    files={"prompt.txt": "Only this."},
)
SPENDING = Scenario(  # each answer has ten completion tokens
    scripted(*[calls(("bash", {"command": "echo again"}), content="again")] * 3, text("the answer")),
    {
        "max_tokens": Effect("20", lambda run: len(run.server.requests), 4, 3),
        "deltas": switched(lambda run: any(line["type"] == "delta" for line in run.done.lines)),
        "quiet": switched(lambda run: not run.done.err),
    },
    words=("--tools", "bash", "--json"),
)
ENDING = Scenario(
    scripted(error(500, "not now"), bash("touch ~/outside"), text("never asked for")),
    {
        "api": Effect(OTHER_API, lambda run: run.first.by_responses, usual=BY_RESPONSES, changed=not BY_RESPONSES),
        "stream": Effect("on", lambda run: run.first.streamed, usual=False, changed=True),
        "limit_ok": Effect("on", lambda run: run.done.code, 3, 0),
        "no_final_answer": Effect("on", lambda run: len(run.server.requests), 3, 2),
        "sandbox": Effect("bwrap", lambda run: (run.done.cwd / "../home/outside").exists(), usual=True, changed=False),
        # the first pause of rlm's own backoff is longer than the SDK's
        "sdk_max_retries": Effect(
            "0", lambda run: [r["wait"] > 1 for r in run.records if r["type"] == "retry"], [False], [True]
        ),
    },
    words=("--tools", "bash", "--max-turns", "1"),
)


def compacting(is_set: bool) -> Script:
    large = calls(("bash", {"command": "echo large"}), usage=usage(5_000, 10))
    turns = in_order(bash("echo one"), bash("echo two"), large, text("the answer"))
    return lambda request: text("a summary") if request.body.get("tool_choice") == "none" else turns(request)


SLOW = Scenario(
    lambda is_set: in_order(text("half of it", finish="length"), text("and the rest").after(60 if is_set else 0)),
    {
        "timeout": Effect(
            "5", lambda run: (run.done.code, run.done.out.strip()), (0, "half of itand the rest"), (3, "half of it")
        )
    },
    words=("--tools", ""),
)


UNPRICED = Scenario(
    lambda is_set: always(text("the answer")),
    {"max_cost": Effect("1", lambda run: run.done.code, 0, 2)},
    words=("--tools", ""),
)
COUNTING = Scenario(  # each answer has 60 new prompt tokens, and ten completion tokens
    scripted(*[bash("echo one")] * 3, text("the answer")),
    {"max_total_tokens": Effect("100", lambda run: len(run.server.requests), 4, 3)},
    words=("--tools", "bash"),
)
TYPED = Scenario(
    lambda is_set: always(text("```\n42\n```")),
    {"schema": Effect("schema.json", lambda run: run.done.out.strip(), "```\n42\n```", "42")},
    words=("--tools", ""),
    files={"schema.json": '{"type": "integer"}'},
)


COMPACTING = Scenario(
    compacting,
    {"summarize_at_tokens": Effect("4000", lambda run: "drop" in run.types, usual=False, changed=True)},
    words=("--tools", "bash"),
)

TWO_CHILDREN = """\
import asyncio
await asyncio.gather(*(rlm.run(task, tools=()) for task in ("one", "other")), return_exceptions=True)"""


def below(cell: str) -> Callable[[bool], Script]:
    """The root runs the cell; its children answer at once."""

    def script(request: Request) -> Answer:
        return call("ipython", code=cell) if request.depth == request.turn == 0 else text("done")

    return lambda is_set: script


def children(run: ScenarioRun) -> int:
    return len(run.done.session.children)


FEW_AGENTS = Scenario(
    below(TWO_CHILDREN),
    {
        "max_agents": Effect("2", children, usual=2, changed=1),
        "subagent_model": Effect(
            "small", lambda run: {child.meta["model"] for child in run.done.session.children}, {"gpt-4o"}, {"small"}
        ),
    },
    words=("--max-depth", "1"),
)


def side_by_side(is_set: bool) -> Script:
    """The first child is answered when both have asked. If both must not ask at once, it is answered after a pause."""
    asked: list[Request] = []
    alone: list[bool] = []

    def both_or_late(piece: bytes) -> bool:
        if is_set and len(asked) == 1 and time.monotonic() > asked[0].at + 0.5:
            alone.append(True)
        return len(asked) == 2 or bool(alone)

    def script(request: Request) -> Answer:
        if request.depth == 0:
            return text("done") if request.turn else call("ipython", code=TWO_CHILDREN)
        asked.append(request)
        return replace(text("alone" if alone else "together"), gate=both_or_late)

    return script


def last_messages(run: ScenarioRun) -> set[str]:
    return {child.messages[-1]["content"] for child in run.done.session.children}


FEW_AT_ONCE = Scenario(
    side_by_side,
    {"max_concurrent_agents": Effect("1", last_messages, {"together"}, {"together", "alone"})},
    words=("--max-depth", "1"),
)
FAN_OUT = "import asyncio\nlen(await asyncio.gather(*(rlm.run(str(n), tools=()) for n in range(5))))"


def first_ahead(is_set: bool) -> Script:
    """Children are answered when all have asked, or only three if the others wait for them. Each answer tells whether
    the request came before the first answer.
    """
    asked: list[Request] = []
    answered: list[bool] = []

    def enough(piece: bytes) -> bool:
        if len(asked) >= (5 if is_set else 3):
            answered.append(True)
        return bool(answered)

    def script(request: Request) -> Answer:
        if request.depth == 0:
            return text("done") if request.turn else call("ipython", code=FAN_OUT)
        asked.append(request)
        return replace(text("after" if answered else "before"), gate=enough)

    return script


AHEAD = Scenario(
    first_ahead,
    {"no_cache_wait": Effect("on", last_messages, {"before", "after"}, {"before"})},
    words=("--max-depth", "1", "--append-to-system-prompt", "Be careful. " * 400),
)
SHOW = f"""\
print(globals().get('context'))
try: await rlm.run('below', tools=())
except rlm.AgentError: pass
from IPython.display import Image
Image({base64.b64encode(PICTURE)!r}, format='png')"""
NOTEBOOK = Scenario(
    below(SHOW),
    {
        "max_depth": Effect("1", children, usual=0, changed=1),
        "context": Effect(
            "data.txt", lambda run: "42 lines" in str(run.done.session.results), usual=False, changed=True
        ),
        "images": switched(lambda run: "image_url" in str(run.server.requests[-1].messages)),
        "mcp": Effect('{"x": {"command": "true"}}', lambda run: "MCP servers" in run.system, usual=False, changed=True),
        "checkpoint": switched(lambda run: (run.done.session.folder / "variables.pickle").exists()),
    },
    files={"data.txt": "42 lines"},
)
LOOK = """\
ulimit -d; ulimit -f; cat /proc/net/dev | wc -l
git init -q nested && git -C nested config core.fsmonitor 'touch pwned'"""


def kilobytes(megabytes: int) -> int:
    """The number that `ulimit` prints."""
    return megabytes * 1_000_000 // 1024


def number(line: int) -> Callable[[ScenarioRun], int]:
    return lambda run: int(run.done.session.results[0].splitlines()[line])


LOOSENED = Scenario(
    scripted(bash(LOOK), text("the answer")),
    {
        "sandbox_memory": Effect("512", number(0), kilobytes(8192), kilobytes(512)),
        "sandbox_file_size": Effect("5", number(1), kilobytes(4096), kilobytes(5)),
        "sandbox_net": switched(lambda run: number(2)(run) > 3),  # two lines of titles, and lo
        "keep_repositories": switched(lambda run: (run.done.cwd / "nested/.git/config").exists()),
    },
    words=("--tools", "bash", "--sandbox", "bwrap"),
)
OF_THE_PROMPT = {"bell"}
"""packages/rlm-core/tests/repl shows their effect."""
ON_A_TERMINAL = {"plain": ("on", b"forty-**two**", b"forty-\x1b[1mtwo"), "pictures": ("off", b"ipython", b"\x1b_Ga=T,")}
"""Settings with an effect only on a terminal: a value, a text that is shown with it, and one only without it."""
SCENARIOS = {name: value for name, value in globals().items() if isinstance(value, Scenario)}


def test_every_setting_has_a_scenario_that_shows_its_effect() -> None:
    covered = [name for scenario in SCENARIOS.values() for name in scenario.effects]
    covered += ON_A_TERMINAL
    assert sorted(covered) == sorted(Config.settings().keys() - OF_THE_PROMPT)


@pytest.mark.parametrize("name", SCENARIOS)
def test_settings_have_their_effect_as_flags_and_as_variables(name: str, tmp_path: Path) -> None:
    scenario, wrong = SCENARIOS[name], []
    for form in ("neither", "flags", "variables"):
        run = play(scenario, form, tmp_path / form)
        for setting, effect in scenario.effects.items():
            expected = effect.usual if form == "neither" else effect.changed
            if (observed := effect.observed(run)) != expected:
                wrong.append(f"{setting}, {form}: {observed!r} and not {expected!r}")
    assert not wrong


def play(scenario: Scenario, form: str, folder: Path) -> ScenarioRun:
    with Scripted(scenario.script(form != "neither")) as server:
        command = Rlm(folder, {"OPENAI_BASE_URL": server.url, "OPENAI_API_KEY": "sk-of-the-first-pair"})
        for name, content in scenario.files.items():
            (command.cwd / name).write_text(content)
        effects = scenario.effects if form != "neither" else {}
        texts = {name: effect.value.replace("{url}", server.url) for name, effect in effects.items()}
        as_flags = [name for name in texts if form == "flags" and not Config.settings()[name].secret]
        words = [word for name in as_flags for word in spelt(name, texts[name])]
        variables = {variable(name): value for name, value in texts.items() if name not in as_flags}
        return ScenarioRun(command("go", *scenario.words, *words, **variables), server)


def spelt(name: str, value: str) -> list[str]:
    return [flag(name)] if Config.settings()[name].bare else [flag(name), value]


def test_settings_of_the_terminal_have_their_effect_there(tmp_path: Path) -> None:
    show = f"from IPython.display import Image\nImage({PICTURE!r}, format='png')"
    values = {name: value for name, (value, _, _) in ON_A_TERMINAL.items()}
    flags = [word for name, value in values.items() for word in spelt(name, value)]
    variables: dict[str, Any] = {variable(name): value for name, value in values.items()}
    with Scripted(by_turn(call("ipython", code=show), text("forty-**two**"))) as server:
        command = Rlm(tmp_path, {"OPENAI_BASE_URL": server.url, "TERM": "xterm-kitty"})
        for words, env, changed in (([], {}, False), (flags, {}, True), ([], variables, True)):
            with PseudoTerminal(command, *words, "go", **env) as screen:
                screen.end()
            for _, with_it, without in ON_A_TERMINAL.values():
                assert changed == (without not in screen.seen)
                assert with_it in screen.seen or not changed
