"""Faults of providers, and the end of a run after each.

docs/faults.md is generated from this list, and the tests prove it.
"""

from __future__ import annotations

from dataclasses import dataclass
from email.utils import formatdate
from typing import Literal

from rlm_testkit.scripted import (
    Answer,
    calls,
    completion,
    error,
    half,
    hang,
    html,
    message,
    reset,
    stall,
    text,
    tool_call,
    usage,
)

Retried = Literal["no", "3 times", "for ten seconds", "until the budget is spent"]
Where = Literal["server", "closed port", "unknown host"]

NO: Retried = "no"
SOME: Retried = "3 times"
BRIEFLY: Retried = "for ten seconds"
BUDGET: Retried = "until the budget is spent"
GIVEN_UP = " (… times, for … s). Try again later."
NO_KEY = " Set or correct RLM_API_KEY (the key for RLM_BASE_URL) or OPENAI_API_KEY."


@dataclass(frozen=True, slots=True)
class Fault:
    """`answer` is the server's permanent answer, `sees` the last text on the screen, `code` the exit code."""

    name: str
    answer: Answer
    retried: Retried
    sees: str
    code: int
    streamed: bool | None = None  # None: the same in both forms
    where: Where = "server"


def lasting(name: str, answer: Answer, reason: str, *, streamed: bool | None = None, where: Where = "server") -> Fault:
    """A temporary failure of the provider."""
    return Fault(name, answer, BUDGET, reason + GIVEN_UP, 75, streamed, where)


def unreached(name: str, reason: str, where: Where) -> Fault:
    """The server has not answered any request of this run."""
    sees = f"{reason} (… times, for … s). Is the server running? Check RLM_BASE_URL."
    return Fault(name, text(""), BRIEFLY, sees, 75, None, where)


def refused(name: str, answer: Answer, sees: str, code: int = 1) -> Fault:
    return Fault(name, answer, NO, sees, code)


def goes_on(name: str, answer: Answer, sees: str = "the answer") -> Fault:
    return Fault(name, answer, NO, sees, 0)


REFUSALS = [
    refused(
        "401",
        error(401, "Incorrect API key provided", "invalid_api_key"),
        "401 Unauthorized: Incorrect API key provided." + NO_KEY,
        4,
    ),
    refused("403", error(403, "You do not have access"), "403 Forbidden: You do not have access." + NO_KEY, 4),
    refused(
        "403, a country that is not served",
        error(403, "Country, region, or territory not supported", "unsupported_country_region_territory"),
        "403 Forbidden: Country, region, or territory not supported. "
        "The provider does not serve this country or region. Set RLM_BASE_URL to one that does.",
        4,
    ),
    refused(
        "403, the page of a firewall",
        html(403, "Attention Required! | Cloudflare"),
        "403 Forbidden: a web page (Attention Required! | Cloudflare). "
        "A firewall before the server refuses this machine or its network. Check RLM_BASE_URL and the network.",
        4,
    ),
    refused("400", error(400, "Unknown parameter: 'foo'."), "400 Bad Request: Unknown parameter: 'foo'."),
    refused(
        "400, a key that is not valid",
        error(400, "API key not valid. Please pass a valid API key."),
        "400 Bad Request: API key not valid. Please pass a valid API key." + NO_KEY,
        4,
    ),
    refused(
        "402",
        error(402, "Insufficient Balance"),
        "402 Payment Required: Insufficient Balance. Check the plan and the billing of the account.",
    ),
    refused(
        "404, unknown model",
        error(404, "The model `gpt-9` does not exist", "model_not_found"),
        "404 Not Found: The model `gpt-9` does not exist. Check RLM_MODEL, and RLM_BASE_URL.",
    ),
    refused(
        "429, quota",
        error(
            429, "You exceeded your current quota, please check your plan and billing details.", "insufficient_quota"
        ),
        "429 Too Many Requests: You exceeded your current quota, please check your plan and billing details. "
        "Check the plan and the billing of the account.",
    ),
    Fault(
        "404 of a flaky tunnel, or of a wrong path",
        html(404, "Tunnel not found"),
        SOME,
        "404 Not Found: a web page (Tunnel not found) (4 times). Check RLM_BASE_URL.",
        1,
    ),
    Fault(
        "429, Retry-After longer than the budget",
        error(429, "slow down", retry_after="9000"),
        NO,
        "429 Too Many Requests: slow down (it asks for a pause of 9000 s). Try again later.",
        75,
    ),
]

PASSING = [
    lasting("408", error(408, "timed out"), "408 Request Timeout: timed out"),
    lasting("409", error(409, "locked"), "409 Conflict: locked"),
    lasting("429 without Retry-After", error(429, "slow down"), "429 Too Many Requests: slow down"),
    lasting("429 with Retry-After, seconds", error(429, "slow", retry_after="0.05"), "429 Too Many Requests: slow"),
    lasting(
        "429 with Retry-After, a date",
        error(429, "slow", retry_after=formatdate(0, usegmt=True)),
        "429 Too Many Requests: slow",
    ),
    lasting(
        "429 that speaks of billing and means the minute",
        error(429, "You exceeded your current quota, please check your plan and billing details. retryDelay: 34s"),
        "429 Too Many Requests: You exceeded your current quota, please check your plan and billing details. "
        "retryDelay: 34s",
    ),
    lasting("500", error(500, "internal"), "500 Internal Server Error: internal"),
    lasting("502, a web page", html(502, "Bad gateway"), "502 Bad Gateway: a web page (Bad gateway)"),
    lasting("503, no body", Answer(status=503), "503 Service Unavailable"),
    lasting("529", error(529, "Overloaded"), "529: Overloaded"),
    unreached("connection refused", "connection refused by HOST", "closed port"),
    unreached("DNS failure", "the name HOST cannot be resolved", "unknown host"),
    lasting("connection reset", reset(), "the connection broke off"),
    lasting("body cut in half", half(text("x" * 500)), "the connection broke off", streamed=False),
    lasting(
        "body cut in half, its length unknown",
        Answer(b'{"choices": [{"message"', headers={"Content-Type": "application/json"}),
        "the reply is cut off, or not JSON",
    ),
    lasting("stream cut in half", half(text("x" * 500)), "the connection broke off", streamed=True),
    lasting(
        "stream that ends early",
        Answer(
            b'data: {"choices": [{"delta": {"content": "x"}}]}\n\n',
            headers={"Content-Type": "text/event-stream"},
        ),
        "the stream broke off",
        streamed=True,
    ),
    lasting(
        "stream that holds no JSON",
        Answer(b'data: {"choices": [{\n\n', headers={"Content-Type": "text/event-stream"}),
        "the stream contains something that is not JSON",
        streamed=True,
    ),
    lasting("a server that hangs (noticed after 600 s)", hang(), "no answer in time"),
    lasting("a server that hangs in its answer (noticed after 600 s)", stall(text("x" * 99)), "no answer in time"),
    lasting("HTML with 200", html(), "a web page (It works) instead of an answer"),
    lasting("`choices` null", completion(None), "the reply contains no choices", streamed=False),
    lasting("`choices` empty", completion([]), "the reply contains no choices", streamed=False),
    lasting("`choices` null or empty, streamed", completion([]), "the reply contains no choices", streamed=True),
    lasting("a choice without a message", Answer(b'{"choices": [{"index": 0}]}'), "the reply contains no message"),
    lasting("an answer that is no object", Answer(b"[]"), "the reply is not a JSON object"),
    lasting(
        "an error object with 200",
        completion(..., error={"message": "upstream failed"}),
        "an error instead of an answer: upstream failed",
    ),
    lasting(
        "an error object with 200 that names a status",
        completion(..., error={"message": "slow down", "code": 429}),
        "429 Too Many Requests: slow down",
    ),
    lasting(
        "finish_reason `error`", text("half a", "error"), "the reply broke off with an error (finish_reason error)"
    ),
]

ODD = [
    goes_on("usage null", text("hi", usage=None), "the answer; tokens are estimated, and marked so"),
    goes_on("parts of usage null", text("hi", usage=usage(100, 10, None, None))),
    goes_on(
        "no usage",
        completion([{"message": {"content": "hi"}, "finish_reason": "stop"}]),
        "the answer; tokens are estimated, and marked so",
    ),
    goes_on("lone surrogates", text("hi \ud83d!"), "the answer with � in their place"),
    goes_on("a `reasoning_content` field", text("hi", reasoning_content="hm"), "the answer; the field is sent back"),
    goes_on("a `reasoning` field", text("hi", reasoning="hm"), "the answer; the field is sent back"),
    goes_on("`refusal`", text(None, refusal="I will not."), "the refusal is the answer"),
]

FILTERED: list[tuple[int, str]] = [
    (
        400,
        "The response was filtered due to the prompt triggering Azure OpenAI's content management policy. "
        "Please modify your prompt and retry.",
    ),
    (400, "Invalid prompt: your prompt was flagged as potentially violating our usage policy."),
    (400, "Your request was rejected as a result of our safety system."),
    (400, "litellm.ContentPolicyViolationError: the prompt is refused"),
    (403, "This model requires moderation on OpenInference. Your input was flagged for violence."),
    (400, "Input data may contain inappropriate content."),
    (400, "Content Exists Risk"),
    (422, "blocked by the guardrail"),
]
"""Status and message of a refusal by a content filter."""

ENDS = [
    Fault(
        "`finish_reason` length, with text",
        text("to be continued", "length"),
        NO,
        "asked to go on; with no room left stop reason `length`",
        3,
    ),
    Fault("`finish_reason` length, no text", text("", "length"), NO, "stop reason `length`", 3),
    Fault("`finish_reason` content_filter", text("so f", "content_filter"), NO, "stop reason `content_filter`", 3),
    Fault(
        "empty content",
        text(""),
        SOME,
        "The model sent an empty message (4 times). Try again, or try another model.",
        1,
    ),
    Fault(
        "400, a content filter (all wordings)",
        error(400, FILTERED[0][1], "content_filter"),
        NO,
        "stop reason `content_filter`, with the provider's words",
        3,
    ),
]

_CALL = tool_call("bash", {}, "same")
CALLS = {
    "duplicate call ids": message({"tool_calls": [_CALL, _CALL]}, "tool_calls"),
    "missing call ids": message(
        {"tool_calls": [tool_call("bash", {}, None), tool_call("bash", {}, None)]}, "tool_calls"
    ),
    "arguments that are an object": message(
        {"tool_calls": [{"id": "x", "function": {"name": "bash", "arguments": {"a": 1}}}]}, "tool_calls"
    ),
    "arguments null": message({"tool_calls": [{"id": "x", "function": {"name": "bash", "arguments": None}}]}, "stop"),
    "empty content beside calls": calls(("bash", {}), content=""),
}
"""Replies with calls that must be repaired before they can be answered."""

OVERFLOWS: list[tuple[int, str]] = [
    (413, "Request Entity Too Large"),
    (413, "anything"),
    (400, "This model's maximum context length is 128000 tokens. However, your messages resulted in 130000 tokens."),
    (400, "context_length_exceeded"),
    (400, "Your input exceeds the context window of this model. Please adjust your input and try again."),
    (400, "prompt is too long: 210000 tokens > 200000 maximum"),
    (400, "input length and `max_tokens` exceed context limit: 190000 + 20000 > 200000"),
    (400, "Input is too long for requested model."),
    (400, "The input token count (1200000) exceeds the maximum number of tokens allowed (1048576)."),
    (400, "The input token count is 33000 but the model only supports up to 32768."),
    (400, "the request exceeds the available context size, try increasing it"),
    (500, "the request exceeds the available context size. try increasing the context size or enable context shift"),
    (400, "The decoder prompt (length 5000) is longer than the maximum model length of 4096."),
    (400, "The input (5000 tokens) is longer than the model's context length (4096 tokens)."),
    (400, "This model's maximum prompt length is 131072 but the request contains 537812 tokens."),
    (400, "Prompt contains 40000 tokens and 0 draft tokens, too large for model with 32768 maximum context length"),
    (400, "The prompt is too long: 140000, model maximum context length: 131072"),
    (400, "prompt token count of 140000 exceeds the limit of 128000"),
    (400, "Invalid request: Your request exceeded model token limit: 131072"),
    (400, "invalid params, context window exceeds limit"),
    (400, "too many tokens: total number of tokens in the prompt cannot exceed 4081"),
    (400, "tokens in request more than max tokens allowed"),
    (422, "Input validation error: `inputs` tokens + `max_new_tokens` must be <= 4096. Given: 5000"),
    (422, "Input validation error: `inputs` must have less than 1024 tokens. Given: 5000"),
    (400, "Range of input length should be [1, 30720]"),
    (400, "Please reduce the length of the messages or completion."),
    (400, "The number of tokens to keep from the initial prompt is greater than the context length."),
    (400, "Trying to keep the first 4567 tokens when context the overflows."),
    (400, "the input length exceeds the context length"),
    (400, "litellm.ContextWindowExceededError: the model refused it"),
    (429, "Request too large for gpt-4o on tokens per min (TPM): Limit 30000, Requested 40000."),
]
"""Status and message for a conversation that is too long."""

TOO_LONG = [
    refused(
        "context too long (all wordings)",
        error(*OVERFLOWS[2]),
        "made shorter and asked again, then stop reason `context_limit`",
        3,
    )
]

FAULTS = [*REFUSALS, *PASSING, *ODD, *ENDS, *TOO_LONG]
