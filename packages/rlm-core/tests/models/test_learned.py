"""What refusals teach: real error texts, and the form in which the messages are accepted."""

from __future__ import annotations

import pytest
from rlm.core.adaptation import Adaptation
from rlm.core.messages import Wire
from rlm.providers.errors import HTTPError
from rlm.providers.learned import wanted_adaptation

BODY: Wire = {
    "tool_choice": "none",
    "messages": [
        {"role": "user", "content": "hi"},
        {
            "role": "assistant",
            "content": None,
            "reasoning_content": "hm",
            "tool_calls": [
                {
                    "id": "call_1",
                    "type": "function",
                    "function": {"name": "bash", "arguments": "{}", "parsed_arguments": {}},
                    "extra_content": {"google": {"thought_signature": "x"}},
                }
            ],
        },
        {"role": "tool", "tool_call_id": "call_1", "content": "1"},
    ],
}
WORDINGS = {
    Adaptation.ROLE_ORDER: [
        (400, "Unexpected role 'user' after role 'tool'"),
        (500, "Jinja Exception: Conversation roles must alternate user/assistant/user/assistant/..."),
        (400, "After the optional system message, conversation roles must alternate user/assistant/user/assistant/..."),
        (400, "Please ensure that function call turn comes immediately after a user turn."),
        (400, "Expected last role User or Tool (or Assistant with prefix True) for serving but got assistant"),
    ],
    Adaptation.SHORT_IDS: [
        (400, "Tool call id was call_1 but must be a-z, A-Z, 0-9, with a length of 9."),
        (400, "Invalid 'messages[1].tool_calls[0].id': string too long. Expected a string with maximum length 40"),
        (400, "messages.1.content.0.tool_use.id: String should match pattern '^[a-zA-Z0-9_-]+$'"),
        (
            400,
            "Value at 'messages.2.member.content.1.member.toolUse.toolUseId' failed: Member must satisfy the pattern",
        ),
    ],
    Adaptation.SOUND_CALLS: [
        (500, "Failed to parse tool call arguments as JSON: [json.exception.parse_error.101]"),
        (400, "Invalid 'messages[1].tool_calls[0].function.name': string does not match pattern."),
        (400, "messages.1.content.0.tool_use.input: Input should be a valid dictionary"),
    ],
    Adaptation.PLAIN_FIELDS: [
        (400, "property 'messages.1.reasoning_content' is unsupported"),
        (422, "Extra inputs are not permitted: body.messages.1.reasoning_content"),
        (400, "Unknown parameter: 'messages[1].tool_calls[0].extra_content'."),
        (400, "Unknown parameter: 'messages[1].tool_calls[0].function.parsed_arguments'."),
    ],
    Adaptation.TEXT_CONTENT: [
        (500, "Expected 'content' to be a string or an array"),
        (400, "Invalid 'content': 'content' field must be a string or an array of objects."),
        (400, "Invalid value for 'content': expected a string, got null."),
        (422, "body.messages.1.content: Input should be a valid string"),
        (400, "messages[1].content must be a string or an object (was null)"),
        (422, "Failed to deserialize: messages[1]: invalid type: null, expected a string"),
        (400, "messages.1: missing field `content`"),
    ],
    Adaptation.NO_TOOL_CHOICE: [(400, "tool_choice 'none' is not supported"), (400, "Invalid toolChoice")],
}
OTHERS = [
    (400, "Missing `reasoning_content` field in the assistant message at message index 1"),
    (400, "messages[1].reasoning_content is required"),
    (500, "Internal error: {'messages': [{'reasoning_content': 'hm'}]}"),  # it quotes the request
    (400, "Unknown parameter: 'foo'."),
    (400, "temperature must be a string"),
    (429, "roles must alternate"),
]


@pytest.mark.parametrize(
    ("adaptation", "status", "words"),
    [(wanted, *wording) for wanted, wordings in WORDINGS.items() for wording in wordings],
)
def test_a_refusal_shows_which_form_is_accepted(adaptation: Adaptation, status: int, words: str) -> None:
    assert wanted_adaptation(HTTPError(status, words), BODY) is adaptation


@pytest.mark.parametrize(("status", "words"), OTHERS)
def test_other_refusals_teach_nothing(status: int, words: str) -> None:
    assert wanted_adaptation(HTTPError(status, words), BODY) is None


def test_only_null_is_replaced_by_an_empty_text() -> None:
    without: Wire = {"messages": [{"role": "user", "content": "hi"}]}
    assert wanted_adaptation(HTTPError(400, "'content' must be a string"), without) is None


PICTURE = {"role": "user", "content": [{"type": "image_url", "image_url": {"url": "data:image/png;base64,AA=="}}]}
NO_PICTURES = [
    (400, "this model does not support image input"),
    (404, "No endpoints found that support image input"),
    (500, "image input is not supported - hint: if this is unexpected, you may need to provide the mmproj"),
    (400, "mistral-small is not a multimodal model"),
    (422, "messages[3].content: invalid type: sequence, expected a string"),
    (400, "tool content must be a string"),
]


@pytest.mark.parametrize(("status", "words"), NO_PICTURES)
def test_pictures_are_left_out_if_they_are_refused(status: int, words: str) -> None:
    plain: Wire = {"messages": [{"role": "user", "content": "draw"}]}
    body: Wire = {"messages": [*plain["messages"], PICTURE]}
    assert wanted_adaptation(HTTPError(status, words), body) is Adaptation.NO_PICTURES
    assert wanted_adaptation(HTTPError(status, words), plain) is None


def test_if_a_refusal_is_ambiguous_pictures_are_dropped_last() -> None:
    body: Wire = {"messages": [*BODY["messages"], PICTURE]}
    assert wanted_adaptation(HTTPError(400, "'content' must be a string"), body) is Adaptation.TEXT_CONTENT
