"""Messages, tool calls and sub-agents in the form of the protocol. Pure: JSON objects, which the tests validate."""

from __future__ import annotations

from collections.abc import Sequence

from rlm.core.messages import Wire
from rlm.present.describe import LANGUAGES, first_line
from rlm.present.markdown import fenced
from rlm.present.titles import title
from rlm.sessions.records import AgentEndRecord
from rlm.sessions.transcript import TranscriptCall
from rlm.text.clip import clip

ROOT = "root"
MOST = 20_000
"""Maximum characters of output in an update. Each update repeats all output that is shown."""

_KINDS = {"ipython": "execute", "bash": "execute", "edit": "edit", "summarize": "think"}


def chunk(kind: str, text: str, message: str) -> Wire:
    """A piece of a message. `kind`: of the user, of the agent, or a thought."""
    return {"sessionUpdate": kind, "content": {"type": "text", "text": text}, "messageId": message}


def text_content(text: str) -> Wire:
    """A text as part of a tool call."""
    return {"type": "content", "content": {"type": "text", "text": text}}


def kind_of(tool: str) -> str:
    """The category of a tool call, from which clients choose an icon."""
    return _KINDS.get(tool, "other")


def call_title(call: TranscriptCall) -> str:
    """The title of a call; an edit names its file."""
    name = f"edit {call.values['path']}" if call.tool == "edit" and isinstance(call.values.get("path"), str) else ""
    return name or title(call.tool, call.arguments) or call.tool


def asked(call: TranscriptCall, cwd: str) -> list[Wire]:
    """The content of a call before it runs: its code, or an edit as a diff."""
    values = call.values
    if call.tool == "edit" and all(isinstance(values.get(name), str) for name in ("path", "old_str", "new_str")):
        path = _absolute(values["path"], cwd)
        return [{"type": "diff", "path": path, "oldText": values["old_str"], "newText": values["new_str"]}]
    code = call.code
    return [text_content(fenced(code.rstrip("\n"), LANGUAGES.get(call.tool, "")))] if code else []


def output(text: str) -> list[Wire]:
    """The output of a call, as content; empty if it is blank."""
    return [text_content(fenced(text.rstrip("\n")))] if text.strip() else []


def _absolute(path: str, cwd: str) -> str:
    return path if path.startswith("/") else f"{cwd.rstrip('/')}/{path}"


def progress(id: str, **fields: object) -> Wire:
    """What has changed of a call."""
    return {"sessionUpdate": "tool_call_update", "toolCallId": id, **fields}


def started_call(id: str, call: TranscriptCall, cwd: str) -> Wire:
    """The start of a call."""
    started = {
        "sessionUpdate": "tool_call",
        "toolCallId": id,
        "title": call_title(call),
        "kind": kind_of(call.tool),
        "status": "in_progress",
        "rawInput": call.values or {"arguments": call.arguments},
        "content": asked(call, cwd),
    }
    path = call.values.get("path")
    if call.tool == "edit" and isinstance(path, str):
        started["locations"] = [{"path": _absolute(path, cwd)}]
    return started


def ended_call(
    id: str, call: TranscriptCall, result: str, cwd: str, *, ok: bool, pictures: Sequence[Wire] = ()
) -> Wire:
    """The end of a call, as an update of it."""
    shown = clip(result, MOST)
    parts = [*asked(call, cwd), *output(shown), *pictures]
    return progress(id, status="completed" if ok else "failed", content=parts, rawOutput=shown)


# ---- sub-agents, as calls


def agent_id(agent: str) -> str:
    """The id of the call that stands for a sub-agent."""
    return agent.removeprefix(f"{ROOT}/")


def started_agent(agent: str, prompt: str) -> Wire:
    """The start of a sub-agent."""
    return {
        "sessionUpdate": "tool_call",
        "toolCallId": agent_id(agent),
        "title": f"sub-agent: {first_line(prompt)}",
        "kind": "think",
        "status": "in_progress",
        "rawInput": {"task": prompt},
        "content": [text_content(prompt)],
    }


def ended_agent(agent: str, answer: str, record: AgentEndRecord) -> Wire:
    """The end of a sub-agent, with its answer or the reason why there is none."""
    said = answer or record.error or record.stop
    status = "completed" if record.stop == "done" else "failed"
    return progress(agent_id(agent), status=status, content=[text_content(said)])
