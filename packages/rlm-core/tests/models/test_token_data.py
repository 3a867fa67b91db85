"""Data of servers about single tokens: stored unchanged, and read in the format of trainers."""

from __future__ import annotations

from typing import Any

import pytest
from rlm.core.messages import Reply
from rlm.present.export.token_data import read_token_data
from rlm.providers.chat import ChatAPI, ChatAssembler
from rlm.providers.responses import ResponsesAPI
from rlm_testkit.scripted import chunks

reply = ChatAPI().reply
ENTRIES: list[dict[str, Any]] = [
    {"token": word, "logprob": prob, "bytes": None, "top_logprobs": []} for word, prob in (("a", -1), ("b", -0.5))
]
BOTH = {"prompt_token_ids": [1, 2, 3], "completion_token_ids": [7, 7], "logprobs": [-1.0, -0.5]}
IDS = {name: BOTH[name] for name in ("prompt_token_ids", "completion_token_ids")}

# the fields of the reply, the fields of its choice, and the trainer's view of them
SERVERS: dict[str, tuple[dict[str, Any], dict[str, Any], dict[str, Any]]] = {
    "vLLM": ({"prompt_token_ids": [1, 2, 3]}, {"token_ids": [7, 7], "logprobs": {"content": ENTRIES}}, BOTH),
    "vLLM without logprobs": ({"prompt_token_ids": [1, 2, 3], "prompt_logprobs": None}, {"token_ids": [7, 7]}, IDS),
    "vLLM, ids as texts": (
        {},
        {"logprobs": {"content": [entry | {"token": "token_id:7"} for entry in ENTRIES]}},
        {"completion_token_ids": [7, 7], "logprobs": [-1.0, -0.5]},
    ),
    "SGLang": (
        {},
        {"prompt_token_ids": [1, 2, 3], "meta_info": {"output_token_logprobs": [[-1, 7, "a"], [-0.5, 7, None]]}},
        BOTH,
    ),
    "SGLang, ids requested": (
        {"sglext": {"routed_experts": "AAEC"}},
        {"prompt_token_ids": [1, 2, 3], "response_token_ids": [7, 7], "meta_info": {"weight_version": "3"}},
        IDS,
    ),
    "OpenAI": ({"system_fingerprint": "fp"}, {"logprobs": {"content": ENTRIES, "refusal": None}}, {"logprobs": [-1.0, -0.5]}),
    "not as many ids as logprobs": ({}, {"token_ids": [7], "logprobs": {"content": ENTRIES}}, {"completion_token_ids": [7]}),
    "nothing": ({"service_tier": "flex", "max_output_tokens": 3}, {"logprobs": None, "matched_stop": 2}, {}),
    "empty values": ({"prompt_token_ids": []}, {"logprobs": {"content": None}, "meta_info": {}}, {}),
    "invalid values": (
        {"prompt_token_ids": [1, "x", 3]},
        {"token_ids": [True, -1], "logprobs": {"content": [3, {"logprob": float("-inf")}]}, "meta_info": [1]},
        {},
    ),
    "other invalid values": ({}, {"token_ids": {"a": 1}, "meta_info": {"output_token_logprobs": [3, []]}}, {}),
}  # fmt: skip


def completion(top: dict[str, Any], beside: dict[str, Any]) -> dict[str, Any]:
    message = {"role": "assistant", "content": "a and b"}
    return {"model": "m", **top, "choices": [{"index": 0, "message": message, "finish_reason": "stop", **beside}]}


def streamed(body: dict[str, Any]) -> Reply:
    assembler = ChatAssembler()
    for chunk in chunks(body, 2):
        assembler.add(chunk)
    return reply(assembler.body(), lambda: 0)


@pytest.mark.parametrize("name", SERVERS)
def test_token_data_is_kept_and_read_whether_it_comes_whole_or_in_pieces(name: str) -> None:
    top, beside, read = SERVERS[name]
    whole = reply(completion(top, beside), lambda: 0)
    pieces = streamed(completion(top, beside))
    assert whole.token_data.keys() == pieces.token_data.keys()
    assert read == read_token_data(whole.token_data).wire() == read_token_data(pieces.token_data).wire()
    assert {"role": "assistant", "content": "a and b"} == whole.message.received, "it must not be sent back"
    if "invalid values" not in name:
        assert bool(read) == bool(whole.token_data)


def test_the_responses_api_has_them_in_the_parts_of_its_messages() -> None:
    part = {"type": "output_text", "text": "a", "annotations": [], "logprobs": ENTRIES[:1]}
    items = [
        {"type": "message", "id": "1", "content": [part]},
        {"type": "message", "id": "2", "content": [part | {"text": "b"}, 3]},
    ]
    more = {"prompt_token_ids": [1], "top_logprobs": 0, "max_output_tokens": None}
    got = ResponsesAPI().reply({"status": "completed", "output": items, **more}, lambda: 0)
    assert {"prompt_token_ids": [1], "logprobs": [-1.0, -1.0]} == read_token_data(got.token_data).wire()
    silent = ResponsesAPI().reply({"output": [{"type": "message", "content": [part | {"logprobs": []}]}]}, lambda: 0)
    assert {} == silent.token_data
