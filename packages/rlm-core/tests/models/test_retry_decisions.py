from __future__ import annotations

import json
import time
from email.utils import formatdate

import pytest
from rlm.errors import ContextTooLong, CredentialsError, ModelError, ModelUnavailable
from rlm.providers.errors import HTTPError, Retry, embedded_fault, judge
from rlm.providers.transport_errors import transport_error


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, None),
        ({"Retry-After": "7"}, 7),
        ({"retry-after": " 1.5 "}, 1.5),
        ({"Retry-After-Ms": "250", "Retry-After": "1"}, 0.25),
        ({"Retry-After": formatdate(time.time() - 99, usegmt=True)}, 0),
        ({"Retry-After": formatdate(1_010, usegmt=True), "Date": formatdate(1_000, usegmt=True)}, 10),
        ({"Retry-After": "soon"}, None),
        ({"Retry-After": ""}, None),
        ({"Retry-After": "-5"}, None),
        ({"Retry-After": "nan"}, None),
        ({"Retry-After": "9e999"}, None),
        ({"Retry-After": "9" * 50}, None),
        ({"Retry-After": "1000000009"}, 0),  # a time that has passed
        ({"Retry-After-Ms": "nan"}, None),
    ],
)
def test_retry_after_is_read_in_each_form(headers: dict[str, str], seconds: float | None) -> None:
    assert judge(HTTPError(429, "", headers)).after == seconds


def test_retry_after_may_be_a_date_in_the_future() -> None:
    after = judge(HTTPError(503, "", {"Retry-After": formatdate(time.time() + 1000, usegmt=True)})).after
    assert after is not None
    assert 0 < after <= 1000


@pytest.mark.parametrize(
    ("status", "words"),
    [
        (429, "Budget has been exceeded! Current cost: 10.5, Max budget: 10.0"),
        (400, "litellm.BudgetExceededError: Budget has been exceeded! Current cost: 5.1, Max budget: 5"),
        (429, "ExceededBudget: User=me over budget. Spend=2.0, Budget=1.0"),
        (429, '{"error": {"message": "You exceeded your current quota", "code": "insufficient_quota"}}'),
        (429, '{"error": {"message": "Billing hard limit has been reached", "code": "billing_hard_limit_reached"}}'),
        (429, "Your account is not active, please check your billing details on our website."),
        (400, "Your credit balance is too low to access the Anthropic API."),
        (402, "Insufficient credits. Add more using the account page."),
        (403, "Key limit exceeded (total limit). Manage it using the account page."),
        (429, "Your team has either used all available credits or reached its monthly spending limit."),
        (429, "exceeded_current_quota_error: your account is suspended"),
        (429, "You have reached your monthly usage limit."),
        (429, '{"error": {"type": "usage_limit_reached", "plan_type": "pro", "resets_in_seconds": 3600}}'),
        (429, "You've reached kimi monthly usage limit for this billing cycle. It is refreshed in the next cycle."),
        (429, "Monthly usage limit reached. Resets in 16 days."),
        (429, "Weekly/Monthly Limit Exhausted"),
        (429, "You've hit your org's monthly usage limit"),
        (429, "You have insufficient quota"),
        (429, "Credit limit reached"),
        (429, '{"error": {"message": "no", "code": "insufficient_credits"}}'),
        (429, '{"error": {"code": "monthly_limit_exceeded"}}'),
        (429, "Daily AI Credit Limit Reached"),
        (429, "Subscription quota exceeded"),
        (429, "You have exceeded your plan limit"),
        (429, "Your plan's monthly quota has been used up."),
        (403, "You have exceeded your premium request allowance."),
        (429, "You have used up your daily free allocation of 10,000 neurons"),
        (429, "Your account balance is insufficient. Please top up."),
        (429, "Not enough credits, please recharge"),
        (429, "You ran out of credits."),
        (429, "You don't have enough credits to run this request"),
        (429, "Payment required to go on"),
        (403, "user quota is not enough, remaining: $0.01"),
        (403, "Sorry, your account balance is insufficient"),
        (429, "Your free trial has expired."),
        (412, "Account is suspended, possibly due to reaching the monthly spending limit."),
        (429, "You are using a Trial key, which is limited to 1000 API calls / month."),
        (429, "InsufficientQuota"),
        (403, "该令牌额度已用尽"),
    ],
)
def test_a_budget_or_a_quota_that_is_spent_ends_at_once(status: int, words: str) -> None:
    decision = judge(HTTPError(status, words))
    assert (decision.error, decision.retry) == (ModelError, Retry.NEVER)
    assert "billing" in decision.hint


@pytest.mark.parametrize(
    ("status", "words"),
    [
        (429, "Rate limit reached for gpt-4o on requests per min (RPM): Limit 3."),
        (
            429,
            '{"error": {"message": "Resource has been exhausted (e.g. check quota).", "status": "RESOURCE_EXHAUSTED"}}',
        ),
        (429, "Usage limit per minute exceeded"),
        (429, "You have reached the usage limit of 20 requests per minute for your plan."),
        (429, '{"error": "INSUFFICIENT QUOTA", "message": "You exceeded your current limit of concurrent requests."}'),
        (429, '{"error": "INSUFFICIENT QUOTA", "message": "You exceeded your current quota of tokens per minute."}'),
        (429, "Quota exceeded for metric generate_requests_per_minute_per_project_per_base_model"),
        (429, "Online prediction request quota exceeded for gemini. Please try again later."),
        (429, "You have exceeded the token rate limit of your current S0 pricing tier. Please retry after 26 seconds."),
        (429, "You have exceeded the call rate limit for your current OpenAI S0 pricing tier."),
        (429, "This request would exceed your organization's rate limit of 30,000 input tokens per minute."),
        (429, "This request would exceed your account's rate limit. Please try again later."),
        (429, "Your plan's rate limit was exceeded. Upgrade to increase your limits."),
        (429, "Service tier capacity exceeded for this model."),
        (
            429,
            "Rate limit reached on requests per min. You can increase it by adding a payment method: /account/billing.",
        ),
        (429, "You are using a Trial key, which is limited to 10 API calls / minute."),
        (429, "User rate limit exceeded."),
        (429, "Too many requests. For more information on your quota see the documentation."),
        (429, "Too many requests. Token limit exceeded, please wait."),
        (503, "upstream: retry budget exceeded"),
        (500, "template of the error page is missing"),
    ],
)
def test_a_temporary_error_is_tried_again(status: int, words: str) -> None:
    assert judge(HTTPError(status, words)).retry is Retry.BUDGET


@pytest.mark.parametrize(
    ("status", "words"),
    [
        (
            500,
            "While executing CallExpression at line 47, column 32 in source: Error: Jinja Exception: roles must alternate",
        ),
        (500, "Value is not callable: null at row 1, column 72: ... (in chat template)"),
        (500, "Unable to generate parser for this template. Automatic parser generation failed"),
        (400, "jinja2.exceptions.TemplateError: Conversation roles must alternate user/assistant/user/assistant/..."),
        (500, "Failed to parse tool call arguments as JSON: [json.exception.parse_error.101] parse error"),
        (
            500,
            '{"error": {"code": 500, "message": "Value is not callable: null at row 26, column 72:\\n  {%- set x %}"}}',
        ),
        (500, "Cannot subscript null at row 23, column 40:\n    {%- set start = content[:n] %}"),
        (500, "Unknown method: keys at row 57, column 46:"),
        (500, "Tool call IDs should be alphanumeric strings with length 9! at row 91, column 40:"),
        (500, '{"error": {"message": "lexer: unexpected character: $\\n...{{ $ }}...\\n      ^"}}'),
        (400, 'Error rendering prompt with jinja template: "Unknown test: sequence". This is usually an issue with'),
        (400, "Error: Cannot read properties of undefined. This is usually an issue with the model's prompt template."),
        (500, 'template: :3:24: executing "" at <index $prop.Type 0>: error calling index: slice index out of range'),
        (500, 'template: :28:7: executing "" at <.ToolCalls>: can\'t evaluate field ToolCalls in type *api.Message'),
        (422, '{"error": "Template error: template not found", "error_type": "template_error"}'),
        (500, "invalid operation: tried to use + operator on unsupported types undefined and string (in <string>:3)"),
        (500, "Object of type Undefined is not JSON serializable"),
        (500, "'dict object' has no attribute 'role'"),
        (500, "'strftime_now' is undefined"),
        (500, "Can only get item pairs from a mapping."),
        (404, '{"error": "can only concatenate str (not \\"NoneType\\") to str"}'),
        (502, "jinja2.exceptions.TemplateSyntaxError: Encountered unknown tag 'generation'."),
    ],
)
def test_a_refusal_by_a_chat_template_is_permanent(status: int, words: str) -> None:
    decision = judge(HTTPError(status, words))
    assert (decision.error, decision.retry, decision.hint) == (ModelError, Retry.NEVER, "")
    reported = words if words[0] != "{" else decision.reason.partition(": ")[2][:40]
    assert reported[:40] in decision.reason
    in_a_stream = embedded_fault({"message": words, "type": "server_error"})  # with status 200
    assert judge(in_a_stream).retry is Retry.NEVER


@pytest.mark.parametrize(
    "words",
    [
        "Unsupported value: 'temperature' does not support 0.2 with this model. Only the default (1) value is supported.",
        "This model only support stream mode, please enable the stream parameter to access the model.",
        "Unsupported parameter: 'max_tokens' is not supported with this model. Use 'max_completion_tokens' instead.",
        "Invalid value for tool_choice. The model must support tools.",
        "This model does not support image input.",
    ],
)
def test_the_model_is_named_only_if_it_is_the_reason(words: str) -> None:
    error = {"message": words, "type": "invalid_request_error", "param": "model", "code": "unsupported_value"}
    assert judge(HTTPError(400, json.dumps({"error": error}))).hint == ""


@pytest.mark.parametrize(
    ("status", "words"),
    [
        (404, '{"error": {"message": "The model `x` does not exist", "code": "model_not_found"}}'),
        (404, '{"error": {"message": "model \\"x\\" not found, try pulling it first"}}'),
        (404, '{"object": "error", "message": "The model `x` does not exist.", "code": 404}'),
        (400, '{"error": {"message": "x is not a valid model ID", "code": 400}}'),
        (400, '{"error": {"message": "Invalid model \'x\'"}}'),
        (404, '{"error": {"message": "The API deployment for this resource does not exist."}}'),
    ],
)
def test_an_unknown_model_is_reported_at_once(status: int, words: str) -> None:
    decision = judge(HTTPError(status, words))
    assert (decision.error, decision.retry) == (ModelError, Retry.NEVER)
    assert "RLM_MODEL" in decision.hint


@pytest.mark.parametrize(
    ("status", "words", "hint"),
    [
        (403, "Country, region, or territory not supported", "country or region"),
        (403, '{"error": {"code": "unsupported_country_region_territory"}}', "country or region"),
        (400, "User location is not supported for the API use.", "country or region"),
        (403, "This service is not available in your region.", "country or region"),
        (403, "Access from your country is restricted", "country or region"),
        (451, "Not available in your country", "country or region"),
        (403, "<!DOCTYPE html><html><title>Just a moment...</title></html>", "A firewall"),
        (403, "<html><head><title>Access Denied</title></head></html>", "A firewall"),
        (403, "error code: 1020", "A firewall"),
        (403, "Access denied due to invalid subscription key", "RLM_API_KEY"),
        (403, "Forbidden", "RLM_API_KEY"),
        (401, "The key does not belong to this region", "RLM_API_KEY"),
    ],
)
def test_a_key_is_asked_for_only_if_it_is_the_reason(status: int, words: str, hint: str) -> None:
    decision = judge(HTTPError(status, words))
    assert decision.retry is Retry.NEVER
    assert hint in decision.hint
    assert ("RLM_API_KEY" in hint) == ("RLM_API_KEY" in decision.hint)


def test_an_account_that_broke_the_rules_is_not_a_filtered_conversation() -> None:
    assert judge(HTTPError(403, "This account is blocked for violating our usage policies.")).error is CredentialsError


@pytest.mark.parametrize(
    "words",
    [
        "temperature must be <= 2",
        "max_tokens must be <= 4096",
        "max_tokens is too large: 200000",
        "top_logprobs too large",
    ],
)
def test_a_number_out_of_range_is_not_a_long_context(words: str) -> None:
    assert judge(HTTPError(400, words)).error is ModelError


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        ({"message": "prompt is too long"}, ContextTooLong),
        ({"message": "bad key", "code": 401}, CredentialsError),
        ({"message": "bad key", "code": "403"}, CredentialsError),
        ({"message": "You have insufficient_quota"}, ModelError),
        ({"message": "overloaded", "code": 529}, ModelUnavailable),
        ({"message": "no", "type": "invalid_request_error"}, ModelError),
        ({"message": "internal", "code": "server_error"}, ModelUnavailable),
        ("something", ModelUnavailable),
    ],
)
def test_an_error_within_a_reply_is_judged_as_one_outside(error: object, expected: type[Exception]) -> None:
    fault = embedded_fault(error)
    assert judge(fault).error is expected


@pytest.mark.parametrize(
    ("body", "reported"),
    [
        ('{"error": {"message": "why"}}', "why"),
        ('[{"error": {"message": "why"}}]', "why"),
        ('{"error": "why"}', "why"),
        ('{"detail": "why"}', "why"),
        ('{"detail": [{"msg": "why"}]}', "why"),
        ('{"odd": 1}', '{"odd": 1}'),
        ("<html><head><title> Bad\n gateway </title></head></html>", "a web page (Bad gateway)"),
        ("<!doctype html>", "a web page"),
        ("plain\n\n  words", "plain words"),
        ("x" * 1000, "x" * 300 + "…"),
    ],
)
def test_the_providers_own_text_is_found(body: str, reported: str) -> None:
    assert judge(HTTPError(418, body)).reason == f"418 I'm a Teapot: {reported}"


def test_an_unknown_status_is_a_number() -> None:
    assert judge(HTTPError(599, "")).reason == "599"


def test_the_cause_is_found_at_the_bottom() -> None:
    outer = RuntimeError("Connection error.")
    outer.__cause__ = ExceptionGroup("tried", [ConnectionRefusedError(111, "no")])
    assert transport_error(outer, "here:80").reason == "connection refused by here:80"
    unreachable = transport_error(OSError(101, "Network is unreachable"), "here:80")
    assert unreachable.reason == "no connection to here:80 ([Errno 101] Network is unreachable)"
    assert judge(unreachable).retry is Retry.BRIEFLY
