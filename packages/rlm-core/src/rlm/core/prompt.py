"""The system prompt: facts to text. The same facts give the same text, so that providers can cache it.

First comes the text that all agents of a run share, then the text that depends on an agent's folder, depth and context.
So the prompts of all agents begin alike, and a provider that has cached the root's prompt has the beginning of the
sub-agents' prompts too.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

_OPENING = "You are rlm, an agent that works on a task until it is done, without asking back."

_IPYTHON = """\
You act through a persistent IPython kernel: variables, imports and files stay between cells.
- `!command` runs a shell command, `%%bash` a script, `await` works at top level. There is no stdin.
- Keep what is large in variables, print only what you need: slices, counts, matches.
- Its Python {version} is rlm's own{packages}.
- Look before you change; then run the tests or the program, read the result.
- `rlm.answer(x)` ends the run: x, text or JSON, is your answer."""

_PACKAGES = " (`%pip install` adds to it)"

_SANDBOX = "You are in a sandbox: only your folder and /tmp can be written{net}."

_RECURSION = """\
You can call yourself: `r = await rlm.run("task")` starts a sub-agent with its own kernel, `r.answer` is its text.
- It knows only its task and `context=obj`, any picklable object, which it finds as the variable `context`.
- Several at once: `await asyncio.gather(*(rlm.run(t, context=c) for c in chunks))`. `tools=()`: a plain model call.
- Give it what is separate and large; combine the answers in code. A failure raises `rlm.AgentError`."""

_CONTEXT = "The variable `context` holds data for the task ({context}). Look at it in code, never print all."

_SUMMARIZE = "When old turns no longer help, drop them with `summarize` and keep what matters in the summary."

_PLACE = "Your folder is {cwd}{python}."

_ISOLATED = "It is a copy of the repository, for you alone: what you change there is handed back as a patch."

_SCHEMA = "Your answer must be JSON alone, without any other text, that fits this JSON Schema: {schema}"

_CLOSING = "Your message without a tool call ends the run and is your answer: plain, complete, and true."


@dataclass(frozen=True, slots=True)
class Facts:
    """The facts that the prompt depends on. No ids and no times."""

    cwd: str
    tools: tuple[str, ...] = ("ipython", "summarize")
    recursion: bool = False
    context: str = ""
    """Type, size and head of the kernel's `context`, in one line; empty if there is none."""
    version: str = ""
    """The version of the kernel's Python, such as 3.12."""
    python: str = ""
    """The command for the project's own Python; empty if none is known."""
    sandbox: bool = False
    network: bool = True
    isolated: bool = False
    """The agent's folder is in a worktree of its own."""
    git: str = ""
    """A sentence about what git cannot do in the sandbox; empty if there is nothing to say."""
    skills: str = ""
    mcp: str = ""
    """The MCP servers of the kernel."""
    project: str = ""
    """The text of the project's AGENTS.md files."""
    append: str = ""
    schema: str = ""
    """JSON Schema of the answer; empty if any text is accepted."""


def system_prompt(facts: Facts) -> str:
    """Return the system prompt. It mentions only features that are on."""
    ipython = "ipython" in facts.tools
    parts = [
        _OPENING,
        _IPYTHON.format(version=facts.version, packages="" if facts.sandbox else _PACKAGES) if ipython else "",
        _SANDBOX.format(net="" if facts.network else "; there is no network") if facts.sandbox else "",
        facts.git,
        _SUMMARIZE if "summarize" in facts.tools else "",
        _CLOSING if facts.tools else "",
        _PLACE.format(cwd=facts.cwd, python=f"; the project's Python is `{facts.python}`" if facts.python else ""),
        _ISOLATED if facts.isolated else "",
        facts.skills,
        facts.mcp,
        facts.project,
        facts.append,
        _RECURSION if ipython and facts.recursion else "",
        schema_prompt(facts.schema) if facts.schema else "",
        _CONTEXT.format(context=facts.context) if facts.context else "",
    ]
    return "\n\n".join(part for part in parts if part)


def shared_prompt(facts: Facts) -> str:
    """Return the beginning of the system prompt, as far as all agents of one run share it."""
    return system_prompt(replace(facts, recursion=False, schema="", context=""))


def schema_prompt(schema: str) -> str:
    """Return the paragraph that says which form the answer must have."""
    return _SCHEMA.format(schema=schema)
