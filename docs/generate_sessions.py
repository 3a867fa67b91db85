"""Writes docs/sessions.schema.json, and the tables of records in docs/sessions.md, from the types in `rlm.sessions.records`.

`just docs` runs it; a test compares.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any, get_args

import msgspec
from msgspec import NODEFAULT, UNSET
from rlm.core.budget import Stop
from rlm.sessions.meta import Meta
from rlm.sessions.records import (
    JoinedText,
    JournalRecord,
    MessageRecord,
    Record,
    RunEndRecord,
    TokenCounts,
    WatchedRecord,
    type_name,
)

HERE = Path(__file__).parent
PAGE = HERE / "sessions.md"
SCHEMA = HERE / "sessions.schema.json"

JOURNALLED: tuple[type[Record], ...] = get_args(JournalRecord)
WATCHED: tuple[type[Record], ...] = get_args(WatchedRecord)

STOPS = {
    Stop.DONE: "the model answered, or a cell called `rlm.answer`",
    Stop.MAX_TURNS: "limit of turns (`RLM_MAX_TURNS`)",
    Stop.TOKEN_BUDGET: "limit of tokens (`RLM_MAX_TOKENS`, `RLM_MAX_TOTAL_TOKENS`)",
    Stop.COST_BUDGET: "limit of cost (`RLM_MAX_COST`)",
    Stop.AGENT_BUDGET: "`RLM_MAX_AGENTS` refused a sub-agent; only the `stop` of an `rlm.AgentError`, never of a session",
    Stop.TIMEOUT: "the time of the run or task is over (`RLM_TIMEOUT`)",
    Stop.CONTEXT_LIMIT: "the conversation is too long for the model, and rlm could not shorten it enough",
    Stop.LENGTH: "the provider cut the last message at its length limit",
    Stop.CONTENT_FILTER: "a content filter of the provider refused the conversation or ended the message",
    Stop.CANCELLED: "a signal, `rlm stop` or the caller ended the run; for a sub-agent also: its `timeout` expired without an "
    "answer",
    Stop.ERROR: "an error ended the run; `error` describes it",
    Stop.DEPTH_LIMIT: "`RLM_MAX_DEPTH` refused a sub-agent; only the `stop` of an `rlm.AgentError`, never of a session",
    Stop.SCHEMA: "after four corrections the answer still did not match the schema",
}
DROPS = {
    "summarize": "the model called the tool `summarize`; the record contains the summary",
    "compaction": "a summary that rlm requested replaces the older turns; it is the message before this record",
    "max_turns_in_context": "turns older than `RLM_MAX_TURNS_IN_CONTEXT`",
    "context_limit": "the conversation is too long for the model, and a summary was not possible or not enough",
    "shortened": "the conversation is too long: a tool result of more than 20,000 characters keeps 4,000; it and all messages "
    "after it are recorded again",
    "summary_call": "the request for a summary and the model's reply to it",
    "joined": "a user message is joined to the message before it, which is recorded again",
    "empty": "before the last request: a message of the model that has only reasoning",
    "hidden": "the user hid a turn (`/hide`)",
    "taken_back": "the user took back a task, with everything after it (`/undo`, `/retry`, `/edit`)",
}

_MAC = {
    "type": "string",
    "pattern": "^[0-9a-f]{32}$",
    "description": "A signature with the key of the user who ran rlm.",
}
_HEAD: dict[str, Any] = {
    "type": {"type": "string"},
    "id": {
        "type": "integer",
        "minimum": 0,
        "description": "Counts from 0 in each journal. Only journalled records have one.",
    },
    "ts": {"type": "number", "description": "Seconds since 1970 when it was written."},
    "agent": {"$ref": "#/$defs/agent", "description": "Only in --json."},
    "mac": _MAC
    | {
        "description": "Only in journals, as the last field: a signature of all bytes of the journal before it. Missing if there was no key."
    },
}
_LATER = ("parent_call", "settings", "run", "journal_bytes", "journal_sha256")
"""Fields of meta.json that older sessions lack."""


# ---- the schema


def schema() -> str:
    """Return the whole file."""
    _, parts = msgspec.json.schema_components([*JOURNALLED, *WATCHED, Meta, JoinedText], ref_template="#/$defs/{name}")
    definitions = {
        _name(kind): _clean(parts[kind.__name__]) for kind in (*JOURNALLED, *WATCHED, TokenCounts, JoinedText, Meta)
    }
    for name, part in definitions.items():
        if name != "meta":
            _never_null(part)
    definitions["message"] |= _message_rules()
    definitions["message"]["properties"]["message"] = {
        "type": "object",
        "required": ["role"],
        "properties": {"role": {"enum": list(MessageRecord.NEEDED)}},
    }
    definitions["drop"]["dependentRequired"] = {"summary": ["turns"], "turns": ["summary"]}
    definitions["usage"]["required"] = [
        name for name in definitions["usage"]["properties"] if name not in ("estimated", "cost")
    ]
    definitions["meta"]["required"] = [name for name in definitions["meta"]["properties"] if name not in _LATER]
    definitions["meta"]["properties"]["mac"] = _MAC | {
        "description": "The last field: a signature of all bytes of this file before it."
    }
    agent = definitions["error"]["properties"]["agent"]
    for kind in (*JOURNALLED, *WATCHED):
        for name in ("id", "ts", "agent", "type"):
            definitions[_name(kind)]["properties"].pop(name, None)
        definitions[_name(kind)]["required"] = [
            name for name in definitions[_name(kind)]["required"] if name not in ("ts", "type")
        ]
    whole = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "rlm sessions, format 1",
        "description": "A record is a line of messages.jsonl, or of `rlm --json`. Readers ignore types and fields that they do not know.",
        "$ref": "#/$defs/record",
        "$defs": {"record": _record(), "agent": agent} | definitions,
    }
    return json.dumps(whole, indent=2, ensure_ascii=False) + "\n"


def _name(kind: type[msgspec.Struct]) -> str:
    """Return the name in the schema: the `type` of a record."""
    others = {TokenCounts: "usage", Meta: "meta", JoinedText: "joined", RunEndRecord: "run_end"}
    return others.get(kind) or type_name(kind)  # type: ignore[arg-type]


def _record() -> dict[str, Any]:
    cases = []
    for type in dict.fromkeys(type_name(kind) for kind in (*JOURNALLED, *WATCHED)):
        refs = [{"$ref": f"#/$defs/{_name(kind)}"} for kind in (*JOURNALLED, *WATCHED) if type_name(kind) == type]
        cases.append(
            {"if": {"properties": {"type": {"const": type}}}, "then": refs[0] if len(refs) == 1 else {"anyOf": refs}}
        )
    return {"type": "object", "required": ["type", "ts"], "properties": _HEAD, "allOf": cases}


def _message_rules() -> dict[str, Any]:
    """Return the fields that a message of each role requires."""
    return {
        "allOf": [
            {
                "if": {"properties": {"message": {"properties": {"role": {"const": role}}}}},
                "then": {"required": list(needed)},
            }
            for role, needed in MessageRecord.NEEDED.items()
            if needed
        ]
    }


def _clean(part: Any) -> Any:
    """Remove what does not help a reader: names of classes, defaults, and the bounds of 64 bits."""
    if isinstance(part, list):
        return [_clean(each) for each in part]
    if not isinstance(part, dict):
        return part
    part = {
        name: _clean(each) if name != "properties" else {key: _clean(value) for key, value in each.items()}
        for name, each in part.items()
    }
    for name in ("title", "default", "exclusiveMinimum", "exclusiveMaximum", "maximum"):
        part.pop(name, None)
    if "$ref" in part:
        part["$ref"] = _refs()[part["$ref"]]
    if set(part) == {"enum"} and len(part["enum"]) == 1:
        return {"const": part["enum"][0]}
    return part


def _refs() -> dict[str, str]:
    kinds = (*JOURNALLED, *WATCHED, TokenCounts, JoinedText, Meta)
    return {f"#/$defs/{kind.__name__}": f"#/$defs/{_name(kind)}" for kind in kinds}


def _never_null(part: dict[str, Any]) -> None:
    """Disallow null: a record omits a field without a value."""
    for name, each in part["properties"].items():
        if name not in part["required"] and {"type": "null"} in each.get("anyOf", ()):
            kept = [one for one in each["anyOf"] if one != {"type": "null"}]
            rest = {key: value for key, value in each.items() if key != "anyOf"}
            part["properties"][name] = (kept[0] | rest) if len(kept) == 1 else {"anyOf": kept} | rest


# ---- the tables


def table(kinds: Iterable[type[Record]]) -> str:
    rows = ["| type | fields | when |", "|---|---|---|"]
    return "\n".join(
        [*rows, *(f"| `{type_name(kind)}` | {', '.join(_fields(kind))} | {kind.__doc__} |" for kind in kinds)]
    )


def _fields(kind: type[Record]) -> Iterable[str]:
    for field in msgspec.structs.fields(kind):
        if field.name in ("id", "ts", "agent"):
            continue
        optional = "" if field.default is NODEFAULT and field.default_factory is NODEFAULT else "?"
        said = next((meta for meta in _descriptions(field.type)), "")
        yield f"`{field.encode_name}`{optional}" + (f" ({said})" if said else "")


def _descriptions(annotation: Any) -> Iterable[str]:
    """Yield the descriptions of a field, the outermost first."""
    for each in reversed(getattr(annotation, "__metadata__", ())):
        if isinstance(each, msgspec.Meta) and each.description:
            yield each.description
    for inner in get_args(annotation):
        if inner is not UNSET:
            yield from _descriptions(inner)


def stops() -> str:
    rows = ["| `stop_reason` | `status` | why the run ended |", "|---|---|---|"]
    return "\n".join([*rows, *(f"| `{stop}` | `{stop.status}` | {STOPS[stop]} |" for stop in Stop)])


def drops() -> str:
    rows = ["| `reason` of a `drop` | what leaves the context, and why |", "|---|---|"]
    return "\n".join([*rows, *(f"| `{reason}` | {why} |" for reason, why in DROPS.items())])


def page() -> str:
    """Return the page with new tables."""
    text = PAGE.read_text()
    tables = {"journal": table(JOURNALLED), "json": table(WATCHED), "stops": stops(), "drops": drops()}
    for name, rows in tables.items():
        begin, end = f"<!-- {name}: generated by generate_sessions.py -->", f"<!-- {name}: end -->"
        before, _, rest = text.partition(begin)
        text = f"{before}{begin}\n{rows}\n{end}{rest.partition(end)[2]}"
    return text


if __name__ == "__main__":
    PAGE.write_text(page())
    SCHEMA.write_text(schema())
