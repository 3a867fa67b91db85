"""Judge the failures of providers: one table from status and text to a decision. Pure functions. See docs/faults.md."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any

from rlm.core.messages import Wire
from rlm.errors import ContentFiltered, ContextTooLong, CredentialsError, ModelError, ModelUnavailable, RlmError
from rlm.providers import error_patterns as patterns
from rlm.providers.error_body import message_and_code, provider_words, retry_after, status_line, web_page


class Retry(Enum):
    """How long to retry the same request."""

    NEVER = "never"
    SOME = "a few times"
    BRIEFLY = "for ten seconds, unless the server has answered in this run"
    BUDGET = "until the budget is spent"


class Fault(Exception):
    """A failed request."""


class HTTPError(Fault):
    """The provider answered with an error. `text` is the body."""

    def __init__(self, status: int, text: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(status, text)
        self.status = status
        self.text = text
        self.headers = headers or {}
        self.hint = ""
        """What the user can do, if the content of the request shows it."""


class TransportError(Fault):
    """There was no answer, or no valid one. `reason` is short.

    `unreadable`: the answer has a form that cannot be read; another form may work. `unreached`: nothing answered.
    `lasting`: a retry cannot help. `few`: many retries will not help. `hint` says what to do then.
    """

    def __init__(
        self,
        reason: str,
        *,
        unreadable: bool = False,
        unreached: bool = False,
        lasting: bool = False,
        few: bool = False,
        hint: str = "",
    ) -> None:
        super().__init__(reason)
        self.reason = reason
        self.unreadable = unreadable
        self.unreached = unreached
        self.lasting = lasting
        self.few = few
        self.hint = hint


@dataclass(frozen=True, slots=True)
class RetryDecision:
    """What to do about a fault. `error` is raised without a retry, or after the last one; `hint` says what to do then.

    `after` is the pause in seconds that the provider asks for.
    """

    reason: str
    error: type[RlmError]
    retry: Retry = Retry.NEVER
    hint: str = ""
    after: float | None = None


_LATER = "Try again later."
_KEY = "Set or correct RLM_API_KEY (the key for RLM_BASE_URL) or OPENAI_API_KEY."
_MODEL = "Check RLM_MODEL, and RLM_BASE_URL."
_URL = "Check RLM_BASE_URL."
_RUNNING = "Is the server running? Check RLM_BASE_URL."
_PLACE = "The provider does not serve this country or region. Set RLM_BASE_URL to one that does."
_FIREWALL = "A firewall before the server refuses this machine or its network. Check RLM_BASE_URL and the network."
PROXY = "Set user and password in the proxy's URL (HTTP_PROXY, HTTPS_PROXY)."
_PLAN = "Check the plan and the billing of the account."


def judge(fault: HTTPError | TransportError) -> RetryDecision:
    """Decide what to do about a fault."""
    if isinstance(fault, HTTPError):
        words = provider_words(fault.text)
        reason = f"{status_line(fault.status)}: {words}" if words else status_line(fault.status)
        error, retry, hint = _classify(fault.status, fault.text)
        if fault.hint and error is ModelError:
            return RetryDecision(reason, error, hint=fault.hint)
        return RetryDecision(reason, error, retry, hint, retry_after(fault.headers))
    if fault.lasting:
        return RetryDecision(fault.reason, ModelError, hint=fault.hint)
    if fault.few:
        return RetryDecision(fault.reason, ModelError, Retry.SOME, fault.hint)
    if fault.unreached:
        return RetryDecision(fault.reason, ModelUnavailable, Retry.BRIEFLY, fault.hint or _RUNNING)
    return RetryDecision(fault.reason, ModelUnavailable, Retry.BUDGET, _LATER)


def _too_long(status: int, text: str) -> bool:
    # "too many tokens" with status 429 means a rate limit
    return status == 413 or bool((patterns.NEVER_FITS if status == 429 else patterns.OVERFLOW).search(text))


def _filtered(status: int, text: str) -> bool:
    if status not in (400, 403, 422, 451) or "account" in text:  # an account may violate a policy too
        return False
    return any(patterns.CONTENT_FILTER.search(each) for each in message_and_code(text))


def _no_money_here(status: int, text: str) -> bool:
    """Some providers use status 403 or 401 for a key that has used up its budget."""
    return status in (401, 403) and _no_money(status, text)


def _not_served(status: int, text: str) -> bool:
    return status in (401, 403) and bool(patterns.PLACE.search(re.sub(r"[_\-]", " ", text)))


def _not_served_here(status: int, text: str) -> bool:
    return status in (400, 451) and bool(patterns.PLACE.search(re.sub(r"[_\-]", " ", text)))


def _firewalled(status: int, text: str) -> bool:
    return (
        status in (401, 403) and bool(patterns.FIREWALL.search(text)) and (bool(web_page(text)) or "error code" in text)
    )


def _no_access(status: int, text: str) -> bool:
    return status in (401, 403) or (status == 400 and bool(patterns.BAD_KEY.search(text)))


def _no_money(status: int, text: str) -> bool:
    words = re.sub(r"[_\-]", " ", text)
    return status == 402 or (
        status in _REFUSING and bool(patterns.QUOTA.search(words)) and not patterns.PASSING.search(words)
    )


_REFUSING = (400, 401, 403, 412, 429)  # not 503: a gateway may mention its own retry budget


def _no_model(status: int, text: str) -> bool:
    """Check only the message and the code: all other fields may mention models, and the word invalid."""
    return status in (400, 404, 422) and any(patterns.UNKNOWN_MODEL.search(each) for each in message_and_code(text))


def _refused_by_template(status: int, text: str) -> bool:
    # 404: mlx-lm, for all errors; 502: a gateway
    return status in (400, 404, 422, 500, 501, 502) and bool(patterns.TEMPLATE.search(text))


def _wants_tls(status: int, text: str) -> bool:
    return status == 400 and bool(patterns.PLAIN_HTTP.search(text))


def _passes(status: int, _: str) -> bool:
    return status in (408, 409, 425, 429) or status >= 500


_Classification = tuple[type[RlmError], Retry, str]
_OTHER: _Classification = (ModelError, Retry.NEVER, "")
_TABLE: tuple[tuple[Callable[[int, str], bool], _Classification], ...] = (
    (_too_long, (ContextTooLong, Retry.NEVER, "")),
    (_filtered, (ContentFiltered, Retry.NEVER, "")),
    (_wants_tls, (ModelError, Retry.NEVER, "The server uses https: set RLM_BASE_URL to an https:// URL.")),
    (_refused_by_template, (ModelError, Retry.NEVER, "")),
    (lambda status, _: status == 407, (ModelError, Retry.NEVER, PROXY)),
    (_no_money_here, (ModelError, Retry.NEVER, _PLAN)),
    (_not_served, (CredentialsError, Retry.NEVER, _PLACE)),
    (_not_served_here, (ModelError, Retry.NEVER, _PLACE)),
    (_firewalled, (CredentialsError, Retry.NEVER, _FIREWALL)),
    (_no_access, (CredentialsError, Retry.NEVER, _KEY)),
    (_no_money, (ModelError, Retry.NEVER, _PLAN)),
    (_no_model, (ModelError, Retry.NEVER, _MODEL)),
    (lambda status, _: status == 404, (ModelError, Retry.SOME, _URL)),
    (_passes, (ModelUnavailable, Retry.BUDGET, _LATER)),
)
"""The first matching row counts."""


def _classify(status: int, text: str) -> _Classification:
    return next((found for matches, found in _TABLE if matches(status, text.lower())), _OTHER)


_STATUS_OF = {
    "rate_limit_exceeded": "429",
    "slow_down": "503",
    "server_is_overloaded": "503",
    "server_error": "500",
    "vector_store_timeout": "500",
    **dict.fromkeys(("invalid_prompt", "invalid_image", "invalid_image_format", "image_parse_error"), "400"),
}
"""The HTTP statuses for OpenAI's error codes within a reply."""


def is_unknown_model(fault: HTTPError) -> bool:
    return _classify(fault.status, fault.text)[2] == _MODEL


def check_for_error(body: Wire) -> None:
    """Check a body or an event of a stream, of status 200, for an error under any name.

    Raises:
        HTTPError, TransportError: it is an error.
    """
    if body.get("error"):
        raise embedded_fault(body["error"])
    texts = [body.get(name) for name in ("message", "detail", "msg", "error_msg")]
    if body.keys().isdisjoint({"choices", "output"}) and any(isinstance(text, str | list) and text for text in texts):
        raise embedded_fault(body)


def embedded_fault(error: Any) -> HTTPError | TransportError:
    """Return the fault for an error object within a reply of status 200."""
    wire = error if isinstance(error, dict) else {"message": error}
    code = str(wire.get("code") or wire.get("status") or "")
    code = _STATUS_OF.get(code, code)
    text = json.dumps({"error": wire})
    if re.fullmatch("[45][0-9]{2}", code):
        return HTTPError(int(code), text)
    lasting = "invalid_request" in str(wire.get("type")) or _refused_by_template(400, text.lower())
    if lasting or _classify(400, text) != _OTHER:
        return HTTPError(400, text)
    return TransportError(f"an error instead of an answer: {provider_words(text)}")
