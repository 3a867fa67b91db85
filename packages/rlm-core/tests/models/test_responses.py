"""The Responses API: what is sent, how replies are read, and that the journal contains all of it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from rlm.core.adaptation import Adaptation, adapt
from rlm.core.events import Adapted, Delta, Event, ParametersChanged, Replied, Retried, Said, ToolReturned
from rlm.core.messages import Assistant, Message, Reply, System, ToolResult, Usage, User, assistant, items_of
from rlm.errors import ContentFiltered, ContextTooLong, CredentialsError, MessagesRefused, ModelError, ModelUnavailable
from rlm.providers.client import EndpointModel, OpenAIClient, api_for
from rlm.providers.endpoint import Endpoint
from rlm.providers.errors import Fault, HTTPError, TransportError, judge
from rlm.providers.ports import Piece
from rlm.providers.responses import ResponsesAPI, ResponsesAssembler, from_output, to_input, to_params
from rlm.sessions.decoder import RecordDecoder
from rlm.sessions.encoder import RecordEncoder
from rlm.sessions.journal import parse
from rlm.sessions.lines import line_of
from rlm.sessions.records import Journalled
from rlm_testkit import responses
from rlm_testkit.scripted import Answer, Scripted, always, calls, completion, error, half, html, text

BASH = {"name": "bash", "description": "d", "parameters": {"type": "object", "properties": {}}}
URL = "data:image/png;base64,AAAA"
PAGE = Path(__file__).parents[4] / "docs" / "sessions.md"


def model(
    client: OpenAIClient, events: list[Event], params: dict[str, Any] | None = None, *, stream: bool
) -> EndpointModel:
    return client.model("m", params, depth=0, sink=events.append, stream=stream)


def client(server: Scripted, api: str = "responses") -> OpenAIClient:
    return OpenAIClient(Endpoint(server.url, "sk-1"), 0, api=api, budget=5, first_pause=0.01)


# ---- which API


@pytest.mark.parametrize(
    ("url", "name"),
    [
        (None, "responses"),
        ("https://api.openai.com/v1", "responses"),
        ("https://eu.api.openai.com/v1/", "responses"),
        ("https://API.OpenAI.com./v1", "responses"),
        ("https://mine.openai.azure.com/openai/v1/", "responses"),
        ("https://mine.services.ai.azure.com/openai/v1", "responses"),
        ("https://mine.openai.azure.com/openai/v1/responses", "responses"),
        ("https://mine.openai.azure.com/openai/deployments/d?api-version=2024-10-21", "chat"),
        ("https://api.openai.com.evil.example/v1", "chat"),
        ("https://myapi.openai.com/v1", "chat"),
        ("https://openrouter.ai/api/v1", "chat"),
        ("http://localhost:8000/v1", "chat"),
    ],
)
def test_auto_is_responses_at_openais_own_hosts(url: str | None, name: str) -> None:
    assert api_for(Endpoint(url)).name == name
    assert api_for(Endpoint(url), "chat").name == "chat"
    assert api_for(Endpoint(url), "responses").name == "responses"


# ---- a conversation


@pytest.mark.parametrize("stream", [False, True])
async def test_a_conversation_goes_back_item_for_item(stream: bool) -> None:
    """The server refuses the request if an item is missing, out of order, or changed."""
    thinking = calls(("bash", {"a": "é"}), ("bash", {"a": 2}), content="Let me look.", reasoning_content="hm")
    events: list[Event] = []
    with Scripted(thinking, text("done", reasoning_content="so")) as server:
        async with client(server) as opened:
            asked = model(opened, events, {"temperature": 0, "reasoning_effort": "low"}, stream=stream)
            reply = await asked.complete([System("s"), User("hi")], [BASH])
            results = [ToolResult(call, "out") for call in reply.message.calls]
            conversation: list[Message] = [System("s"), User("hi"), reply.message, *results]
            end = await asked.complete(conversation, [BASH], "none")
    first, second = server.requests
    assert (first.path, first.streamed) == ("/v1/responses", stream)
    assert {name: value for name, value in first.wire.items() if name != "stream"} == {
        "model": "m",
        "instructions": "s",
        "input": [{"role": "user", "content": "hi"}],
        "tools": [{"type": "function", **BASH, "strict": False}],
        "temperature": 0,
        "reasoning": {"effort": "low"},
        "include": ["reasoning.encrypted_content"],
        "store": False,
    }
    assert [item.get("type", item.get("role")) for item in second.wire["input"]] == [
        *("user", "reasoning", "message", "function_call", "function_call"),
        *("function_call_output", "function_call_output"),
    ]
    assert second.wire["tool_choice"] == "none"
    assert tuple(second.wire["input"][1:5]) == reply.message.items
    assert reply.message.items[0]["content"] is None
    assert second.messages[2:] == [reply.message.wire(), *(result.wire() for result in results)]
    assert reply.message.received.keys() == {"role", "content", "reasoning_content", "tool_calls"}
    assert (reply.finish, reply.usage) == ("tool_calls", Usage(100, 10, 40, 3))
    assert (end.finish, end.message.text, end.message.received["reasoning_content"]) == ("stop", "done", "so")
    streamed = "".join(event.text for event in events if isinstance(event, Delta))
    assert streamed == ("Let me look.done" if stream else "")


def test_pictures_results_and_the_messages_of_the_chat_api_have_their_items() -> None:
    picture = {"type": "image_url", "image_url": {"url": URL}}
    call = {"id": "c1", "type": "function", "function": {"name": "bash", "arguments": "{}"}}
    previous = assistant({"role": "assistant", "content": "I look.", "tool_calls": [call], "reasoning_content": "hm"})
    result = ToolResult(previous.calls[0], "seen", joined=(User([picture]),))
    refused = assistant({"role": "assistant", "content": None, "refusal": "No."})
    cut_off = assistant({"role": "assistant", "content": None}, items=[{"type": "reasoning", "id": "rs_1"}])
    messages: list[Message] = [User("t"), previous, result, refused, User([picture]), cut_off]
    image = {"type": "input_image", "detail": "auto", "image_url": URL}
    assert to_input((message.wire(), items_of(message)) for message in messages) == (
        None,
        [
            {"role": "user", "content": "t"},
            {"role": "assistant", "content": "I look."},
            {"type": "function_call", "call_id": "c1", "name": "bash", "arguments": "{}"},
            {
                "type": "function_call_output",
                "call_id": "c1",
                "output": [{"type": "input_text", "text": "seen"}, image],
            },
            {"role": "assistant", "content": "No."},
            {"role": "user", "content": [image]},
        ],
    )


async def test_a_call_that_no_provider_takes_back_is_repaired_in_its_item_too() -> None:
    odd = calls(("ba sh", '{"a": 1'), ("bash", {"b": 2}), reasoning_content="hm \ud83d")
    with Scripted(odd, text("done")) as server:
        async with client(server) as opened:
            asked = model(opened, [], stream=False)
            reply = await asked.complete([User("hi")], [BASH])
            results = [ToolResult(call, "out") for call in reply.message.calls]
            await asked.complete([User("hi"), reply.message, *results], [BASH])
    sent = [item for item in server.requests[1].wire["input"] if item.get("type") == "function_call"]
    assert [(item["name"], item["arguments"], item["status"]) for item in sent] == [
        ("ba_sh", "{}", "completed"),
        ("bash", '{"b": 2}', "completed"),
    ]
    assert [call.arguments for call in reply.message.calls] == ['{"a": 1', '{"b": 2}']
    assert {item["call_id"] for item in sent} == {call.id for call in reply.message.calls}


# ---- parameters


def test_parameters_mean_the_same_by_both_apis() -> None:
    schema = {"name": "n", "schema": {"type": "object"}, "strict": True}
    parameters = {
        "max_tokens": 7,
        "max_completion_tokens": 8,
        "reasoning_effort": "high",
        "reasoning": {"summary": "auto"},
        "response_format": {"type": "json_schema", "json_schema": schema},
        "verbosity": "low",
        "logprobs": True,
        "tool_choice": {"type": "function", "function": {"name": "bash"}},
        "include": ["web_search_call.results"],
        "store": True,
        "service_tier": "flex",
        "seed": 1,
    }
    assert to_params(parameters) == {
        "max_output_tokens": 8,
        "reasoning": {"effort": "high", "summary": "auto"},
        "text": {"format": {"type": "json_schema", **schema}, "verbosity": "low"},
        "tool_choice": {"type": "function", "name": "bash"},
        "include": ["reasoning.encrypted_content", "message.output_text.logprobs", "web_search_call.results"],
        "store": False,
        "service_tier": "flex",
        "seed": 1,
    }
    assert to_params({"max_tokens": 7, "response_format": {"type": "json_object"}}) == {
        "max_output_tokens": 7,
        "text": {"format": {"type": "json_object"}},
        "include": ["reasoning.encrypted_content"],
        "store": False,
    }


REFUSED = [
    ("temperature", "Unsupported parameter: 'temperature' is not supported with this model.", "temperature"),
    ("temperature", "Unsupported value: 'temperature' does not support 0.5 with this model. Only the default (1)", "temp"),
    ("temperature", "`temperature` is deprecated for this model.", "temperature"),
    ("max_tokens", "Unsupported parameter: 'max_tokens' is not supported with this model. Use 'max_completion_tokens' "
     "instead.", "write max_completion_tokens instead of max_tokens"),
    ("max_tokens", "Invalid 'max_output_tokens': integer below minimum value. Expected a value >= 16.", "max_tokens"),
    ("seed", "Unknown parameter: 'seed'.", "seed"),
    ("reasoning_effort", "Unsupported value: 'minimal' is not supported with the 'gpt-6-sol' model. Supported values "
     "are: 'low'. (reasoning.effort)", "reasoning_effort"),
    ("verbosity", "Unsupported value: 'low' for 'text.verbosity'.", "verbosity"),
    ("top_k", '[{"loc": ["body", "top_k"], "msg": "Extra inputs are not permitted"}]', "top_k"),
    ("logprobs", "Unrecognized request argument supplied: logprobs", "logprobs"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("name", "words", "advice"), REFUSED, ids=[f"{name}: {words[:30]}" for name, words, _ in REFUSED]
)
@pytest.mark.parametrize("api", ["chat", "responses"])
async def test_a_refused_parameter_is_named_with_what_to_do(api: str, name: str, words: str, advice: str) -> None:
    refusal = error(400, words, kind="invalid_request_error")
    with Scripted(always(refusal), strict=False) as server:
        async with client(server, api) as opened:
            with pytest.raises(
                ModelError, match=rf"in RLM_MODEL_PARAMS|In RLM_MODEL_PARAMS.*{re.escape(advice)}"
            ) as caught:
                await model(opened, [], {name: 1, "user": "u"}, stream=False).complete([User("hi")], [])
    assert advice in str(caught.value)
    assert len(server.requests) == 1


async def test_other_errors_name_no_parameter() -> None:
    with Scripted(error(400, "Invalid user message: stop it. Only tools may speak."), strict=False) as server:
        async with client(server, "chat") as opened:
            with pytest.raises(ModelError) as caught:
                await model(opened, [], {"stop": "x", "user": "u", "n": 1}, stream=False).complete([User("hi")], [])
    assert "RLM_MODEL_PARAMS" not in str(caught.value)


OTHER = [
    ("chat", 404, "This model is only supported in v1/responses and not in v1/chat/completions.", "RLM_API=responses"),
    ("chat", 400, "Function tools with reasoning_effort are not supported for gpt-6-sol in /v1/chat/completions. Please "
     "use /v1/responses instead.", "RLM_API=responses"),
    ("chat", 404, "This is not a chat model and thus not supported in the v1/chat/completions endpoint.", "responses"),
    ("responses", 400, "The requested model 'm' cannot be used with the Responses API.", "RLM_API=chat"),
    ("responses", 404, "Not supported by this server; use /v1/chat/completions", "RLM_API=chat"),
]  # fmt: skip


@pytest.mark.parametrize(("api", "status", "words", "advice"), OTHER)
async def test_a_refusal_that_names_the_other_api_says_which_setting_helps(
    api: str, status: int, words: str, advice: str
) -> None:
    with Scripted(always(error(status, words)), strict=False) as server:
        async with client(server, api) as opened:
            with pytest.raises(ModelError, match=advice):
                await model(opened, [], {"reasoning_effort": "low"}, stream=True).complete([User("hi")], [])
    assert len(server.requests) == 1


# ---- replies


def response(*output: dict[str, Any], **fields: Any) -> dict[str, Any]:
    return {"object": "response", "status": "completed", "output": list(output), "usage": None} | fields


def message_item(words: str, **fields: Any) -> dict[str, Any]:
    return {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": words}]} | fields


def read(body: object) -> Reply:
    return ResponsesAPI().reply(body, lambda: 400)


@pytest.mark.parametrize(
    ("body", "finish", "words"),
    [
        (
            response(message_item("cut"), status="incomplete", incomplete_details={"reason": "max_output_tokens"}),
            "length",
            "cut",
        ),
        (response(status="incomplete", incomplete_details={"reason": "content_filter"}), "content_filter", ""),
        (response(message_item("x"), status="incomplete", incomplete_details=None), "length", "x"),
        (
            response(message_item("x"), status="incomplete", incomplete_details={"reason": "steered"}),
            "incomplete: steered",
            "x",
        ),
        (
            response(message_item("I look.", phase="commentary"), message_item("Yes.", phase="final_answer")),
            "stop",
            "Yes.",
        ),
        (response(message_item("one"), message_item("two")), "stop", "one\n\ntwo"),
        (response({"type": "message", "content": [{"type": "refusal", "refusal": "No."}]}), "stop", "No."),
        (response(message_item("x"), status=None, message="not an error"), "stop", "x"),
    ],
)
def test_how_a_response_ends(body: dict[str, Any], finish: str, words: str) -> None:
    reply = read(body)
    assert (reply.finish, reply.message.text) == (finish, words)
    assert reply.usage.estimated
    assert reply.message.items == tuple(body["output"])


@pytest.mark.parametrize(
    ("summary", "content", "expected"),
    [
        ([{"type": "summary_text", "text": "a"}, {"type": "summary_text", "text": "b"}], None, "a\n\nb"),
        ([{"type": "summary_text", "text": "a"}], [{"type": "reasoning_text", "text": "all"}], "all"),
        ([], None, None),
    ],
)
def test_reasoning_is_the_open_text_or_the_summary(
    summary: list[Any], content: list[Any] | None, expected: str
) -> None:
    thought = {"type": "reasoning", "id": "rs", "summary": summary, "content": content}
    received, _, items = from_output([thought, message_item("x")])
    assert received.get("reasoning_content") == expected
    assert items[0] == thought


FAULTS: list[tuple[dict[str, Any], type[Exception]]] = [
    ({"code": "rate_limit_exceeded", "message": "Please try again in 1s."}, TransportError),
    ({"code": "server_error", "message": "The server had an error."}, TransportError),
    ({"code": "server_is_overloaded", "message": "Try later."}, TransportError),
    ({"code": "context_length_exceeded", "message": "Your input exceeds the context window of this model."}, ContextTooLong),
    ({"code": "insufficient_quota", "message": "You exceeded your current quota, check your plan"}, ModelError),
    ({"code": "invalid_prompt", "message": "Invalid prompt: limited access"}, ModelError),
    ({"code": "content_filter", "message": "The response was filtered due to the content management policy"}, ContentFiltered),
    ({"code": "invalid_api_key", "message": "Incorrect API key provided"}, CredentialsError),
]  # fmt: skip


@pytest.mark.parametrize(("wrong", "kind"), FAULTS, ids=[str(wrong["code"]) for wrong, _ in FAULTS])
@pytest.mark.parametrize("where", ["whole", "failed", "error", "nested"])
def test_a_failed_response_means_what_the_same_error_means_elsewhere(
    where: str, wrong: dict[str, Any], kind: type[Exception]
) -> None:
    failed = response(status="failed", error=wrong)
    event = {
        "whole": {"type": "response.completed", "response": failed},
        "failed": {"type": "response.failed", "response": failed},
        "error": {"type": "error", **wrong},
        "nested": {"type": "error", "error": wrong},
    }[where]
    with pytest.raises(Fault) as caught:
        read(failed if where == "whole" else assembled(event))
    assert isinstance(caught.value, HTTPError | TransportError)
    decision = judge(caught.value)
    wanted = (ModelUnavailable, "BUDGET") if kind is TransportError else (kind, "NEVER")
    assert (decision.error, decision.retry.name) == wanted


@pytest.mark.parametrize("body", [None, [], {}, {"output": None}, {"output": ["x"]}, {"choices": []}])
def test_an_invalid_response_is_unreadable(body: object) -> None:
    with pytest.raises(TransportError) as caught:
        read(body)
    assert caught.value.unreadable


def assembled(*events: dict[str, Any], done: bool = False) -> dict[str, Any]:
    assembler = ResponsesAssembler()
    for event in events:
        assembler.add(event)
    return assembler.body(done=done)


def test_only_complete_items_of_a_stream_are_used() -> None:
    item = message_item("x", id="msg_1")
    whole = {"type": "response.output_item.done", "output_index": 1, "item": item}
    thought = {"type": "reasoning", "id": "rs", "encrypted_content": "whole"}
    first = {"type": "response.output_item.done", "output_index": 0, "item": thought}
    end = {"type": "response.completed", "response": response()}
    assert assembled(whole, first, end)["output"] == [thought, item]
    assert assembled(whole, first, done=True)["output"] == [thought, item]
    assert assembled({"type": "response.completed", "response": response(item)})["output"] == [item]
    for events in ([], [whole], [{"type": "response.created", "response": response()}]):
        with pytest.raises(TransportError, match="broke off"):
            assembled(*events)


def test_the_text_of_two_messages_has_a_blank_line_between() -> None:
    assembler = ResponsesAssembler()
    deltas = [("a", "one "), ("a", "more"), ("b", "two")]
    pieces = [
        assembler.add({"type": "response.output_text.delta", "item_id": id, "delta": part}) for id, part in deltas
    ]
    assert pieces == [Piece("one "), Piece("more"), Piece("\n\ntwo")]
    assert assembler.add({"type": "response.reasoning_summary_text.delta", "delta": "hm"}) == Piece(reasoning="hm")
    assert assembler.add({"type": "response.function_call_arguments.delta", "delta": "{"}) == Piece(arguments="{")
    assert assembler.add({"type": "keepalive"}) is None


# ---- the same as with the chat API


async def test_faults_are_tried_again_and_forms_are_switched_as_by_the_chat_api() -> None:
    events: list[Event] = []
    answers = [error(429, "slow down", retry_after="0"), half(text("x" * 200)), html(), text("whole")]
    with Scripted(*answers) as server:
        async with client(server) as opened:
            reply = await model(opened, events, stream=True).complete([User("hi")], [])
    assert reply.message.text == "whole"
    assert [request.streamed for request in server.requests] == [True, True, True, False]
    assert len({request.headers["idempotency-key"] for request in server.requests}) == 1
    assert [request.headers["x-stainless-retry-count"] for request in server.requests] == ["0", "1", "2", "3"]
    assert [event.attempt for event in events if isinstance(event, Retried)] == [1, 2, 3]


ITEMS = [
    ("Unknown parameter: 'input[1].status'.", Adaptation.PLAIN_FIELDS),
    ("Item with id 'rs_1_0_x' not found. Items are not persisted when `store` is set to false.", Adaptation.NO_ITEMS),
    ("The encrypted content gAAA could not be verified.", Adaptation.NO_ITEMS),
    ("Item 'msg_1' was provided without its required 'reasoning' item: 'rs_1'.", Adaptation.NO_ITEMS),
]


@pytest.mark.parametrize(("words", "wanted"), ITEMS)
async def test_items_that_an_endpoint_refuses_are_sent_in_another_form(words: str, wanted: Adaptation) -> None:
    thought: dict[str, Any] = {
        "type": "reasoning",
        "id": "rs",
        "summary": [],
        "status": "completed",
        "encrypted_content": "gAAA",
        "content": None,
    }
    previous = Assistant(
        "x", (), {"role": "assistant", "content": "x"}, {}, (thought, message_item("x", id="msg", status="completed"))
    )
    with Scripted(error(400, words), text("fine"), strict=False) as server:
        async with client(server) as opened:
            asked = model(opened, [], stream=False)
            messages: Sequence[Message] = [User("hi"), previous, User("more")]
            with pytest.raises(MessagesRefused) as refused:
                await asked.complete(messages, [])
            assert asked.adaptations | refused.value.so_far == {wanted}
            assert bool(refused.value.so_far) == (wanted is Adaptation.NO_ITEMS), (
                "items of the endpoint itself are no reason to send none"
            )
            await asked.complete([adapt(message, {wanted}) for message in messages], [])
    sent = server.requests[1].wire["input"][1:-1]
    plain = {"type": "reasoning", "id": "rs", "summary": [], "encrypted_content": "gAAA"}
    assert sent == (
        [plain, previous.items[1]] if wanted is Adaptation.PLAIN_FIELDS else [{"role": "assistant", "content": "x"}]
    )


async def test_an_endpoint_that_refuses_its_own_items_gets_none_from_then_on() -> None:
    refused = error(400, ITEMS[1][0])
    with Scripted(text("one"), refused, refused, text("two"), strict=False) as server:
        async with client(server) as opened:
            asked, sibling = (model(opened, [], stream=False) for _ in range(2))
            own = (await asked.complete([User("hi")], [])).message
            foreign = Assistant(
                "x", (), {"role": "assistant", "content": "x"}, {}, (message_item("x", id="elsewhere"),)
            )
            for previous, learnt in ((foreign, False), (own, True)):
                with pytest.raises(MessagesRefused):
                    await asked.complete([User("hi"), previous, User("more")], [])
                assert sibling.adaptations == ({Adaptation.NO_ITEMS} if learnt else set())


# ---- the law of the journal


async def test_the_reader_of_the_docs_rebuilds_each_request(tmp_path: Path) -> None:
    """The journal has all kinds of records: items, messages of the chat API, pictures, a drop, messages in another
    form.
    """
    picture = User([{"type": "text", "text": "see"}, {"type": "image_url", "image_url": {"url": URL}}])
    with Scripted(
        calls(("bash", {"a": 1}), content="I look.", reasoning_content="hm"),
        text("one"),
        text(None, refusal="No."),
        text("x"),
        strict=False,  # a refusal has no content
    ) as server:
        async with client(server) as opened:
            asked = model(opened, [], {"reasoning_effort": "low", "max_tokens": 99}, stream=False)
            first = await asked.complete([System("s"), User("hi")], [BASH])
            result = ToolResult(first.message.calls[0], "out")
            second = await asked.complete([System("s"), User("hi"), first.message, result], [BASH])
            third = await asked.complete(
                [System("s"), User("hi"), first.message, result, second.message, picture], [BASH]
            )
            adapted = Adapted((Adaptation.PLAIN_FIELDS,), ((2, adapt(first.message, [Adaptation.PLAIN_FIELDS])),))
            plain = adapt(first.message, [Adaptation.PLAIN_FIELDS])
            again: list[Message] = [
                System("s"),
                User("hi"),
                plain,
                result,
                second.message,
                picture,
                third.message,
                User("more"),
            ]
            fourth = await asked.complete(again, [BASH])
    request = ParametersChanged("m", (BASH,), {"reasoning_effort": "low", "max_tokens": 99}, "responses")
    events: list[Event] = [
        *(Said(System("s")), Said(User("hi")), request, Replied(first), ToolReturned(result), Replied(second)),
        *(Said(picture), Replied(third), adapted, Said(User("more")), Replied(fourth)),
    ]
    encoder, decoder = RecordEncoder(), RecordDecoder()
    records = [record for event in events if isinstance(record := encoder.encode(event), Journalled)]
    path = tmp_path / "messages.jsonl"
    path.write_bytes(b"".join(map(line_of, records)))
    reading = parse(path.read_bytes())
    assert reading.records == tuple(records)
    assert [decoder.decode(record) for record in reading.records][3] == Replied(first)
    found: dict[str, Any] = {"path": path}
    for program in re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)[:2]:
        exec(program, found)
    rebuilt = [found["responses_request"](messages) for messages in found["requests"]]
    assert rebuilt == [(request.wire["instructions"], request.wire["input"]) for request in server.requests]
    assert found["requests"][0] == [(message.wire(), []) for message in (System("s"), User("hi"))]


def test_the_scripted_server_refuses_what_openai_refuses() -> None:
    """Some client has sent each of these requests, and the error texts are those of OpenAI's server."""
    body = calls(("bash", {"a": 1}), reasoning_content="hm").body
    assert isinstance(body, dict)
    thought, call = responses.response(body, {})["output"]
    user = {"role": "user", "content": "hi"}
    output = {"type": "function_call_output", "call_id": call["call_id"], "output": "out"}
    valid = {"model": "m", "store": False, "include": [responses.ENCRYPTED], "input": [user, thought, call, output]}

    def refused(**changed: Any) -> str:
        return (responses.refusal(valid | changed) or ("", ""))[0]

    assert refused() == ""
    assert "Unknown parameter: 'messages'" in refused(messages=[])
    assert "store" in refused(store=True)
    assert "asks for the encrypted" in refused(include=[])
    assert "without its required 'reasoning' item" in refused(input=[user, call, output])
    assert "without its required following item" in refused(input=[user, thought, user])
    assert "No tool output found" in refused(input=[user, thought, call])
    assert "No tool call found" in refused(input=[user, output])
    assert "not found" in refused(input=[user, thought | {"encrypted_content": None}, call, output])
    assert "could not be verified" in refused(input=[user, thought, call | {"arguments": "{}"}, output])
    assert "Unknown parameter: 'input[1].status'" in refused(input=[user, thought | {"status": "x"}, call, output])
    assert "Invalid value" in refused(input=[{"role": "user", "content": [{"type": "text", "text": "x"}]}])
    nested = [{"type": "function", "function": BASH}]
    assert "Missing required parameter: 'tools[0].name'" in refused(tools=nested)


def test_an_answer_without_a_choice_is_sent_as_it_is() -> None:
    broken: Answer = completion([])
    assert isinstance(broken.body, dict)
    assert responses.response(broken.body, {}) == broken.body
