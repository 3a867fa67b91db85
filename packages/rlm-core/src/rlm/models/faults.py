"""What a provider's failure means: one table from status, text and cause to a verdict. Pure. See docs/faults.md."""

from __future__ import annotations

import json
import re
import socket
import ssl
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from enum import Enum
from http import HTTPStatus
from typing import Any

from rlm.errors import ContextTooLong, CredentialsError, ModelError, ModelUnavailable, RlmError


class Retry(Enum):
    """Whether the same request may work later."""

    NEVER = "never"
    SOME = "a few times"
    BUDGET = "until the budget is spent"


class Fault(Exception):
    """A request that came to nothing."""


class Refusal(Fault):
    """The provider answered with an error. `text` is the body."""

    def __init__(self, status: int, text: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(status, text)
        self.status = status
        self.text = text
        self.headers = headers or {}


class Breakdown(Fault):
    """There was no answer, or none that makes sense. `reason` is short; `lasting`: it will be the same next time."""

    def __init__(self, reason: str, *, lasting: bool = False) -> None:
        super().__init__(reason)
        self.reason = reason
        self.lasting = lasting


@dataclass(frozen=True, slots=True)
class Verdict:
    """`error` is what it becomes when it is not retried, or when retrying did not help; `hint` is what to do then.

    `after` is how many seconds the provider wants to be left alone.
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
_PLAN = "Check the plan and the billing of the account."
_CERTIFICATE = "Set SSL_CERT_FILE to a file that holds your authority's certificate."

OVERFLOW = (
    r"maximum context length",  # OpenAI, vLLM, OpenRouter, DeepSeek, Mistral
    r"context_length_exceeded",
    r"context[_ ](window|length|size) (is )?exceeded",
    r"contextwindowexceeded",  # LiteLLM
    r"exceeds? (the |its )?(model'?s? )?(maximum |available )?context",  # OpenAI's Responses, llama.cpp, Ollama
    r"exceed_context_size",
    r"exceed context limit",  # Anthropic, with max_tokens
    r"context window exceeds",  # MiniMax
    r"(prompt|input|request|conversation) is too (long|large)",  # Anthropic, Bedrock, Fireworks
    r"request entity too large",
    r"request (body )?too large",
    r"longer than the (maximum model|model'?s (maximum )?context) length",  # vLLM, SGLang
    r"maximum (prompt|input|sequence) length",  # xAI
    r"input token count.{0,40}(exceeds|only supports)",  # Gemini, Vertex
    r"token count of \d+ exceeds",  # GitHub
    r"exceeded model token limit",  # Moonshot
    r"too many tokens",  # Cohere
    r"tokens in (the )?request more than max",  # Zhipu
    r"`inputs`.{0,40} must (be <= \d|have less than \d+ tokens)",  # TGI, Together
    r"range of input length should be",  # DashScope
    r"reduce the length of (the|your) (messages|prompt|input)",  # Groq, Cerebras, OpenAI
    r"than the context length|context length of only",  # LM Studio
    r"when context the overflows|context overflow",
)
"""How providers say that a conversation is too long, in lower case."""

_OVERFLOW = re.compile("|".join(OVERFLOW))
_NEVER_FITS = re.compile(r"request too large for")  # a single request over the tokens per minute: never fits
_QUOTA = re.compile(r"insufficient_quota|insufficient balance|credit balance is too low|check your plan and billing")
_PASSING = re.compile(r"retrydelay|per minute")  # Gemini's rate limit speaks of billing, too
_BAD_KEY = re.compile(r"(invalid|incorrect|no|missing) api[ _-]?key|api[ _-]?key (is )?(not valid|invalid|missing)")
_UNKNOWN_MODEL = re.compile(
    r"model_not_found|(model|deployment).{0,120}(not found|not exist|not available|unknown|invalid)"
    r"|unknown model|invalid model|no such model|not a valid model",
    re.DOTALL,
)


def judge(fault: Refusal | Breakdown) -> Verdict:
    """What to do about it."""
    if isinstance(fault, Refusal):
        return _judge_refusal(fault)
    if fault.lasting:
        return Verdict(fault.reason, ModelError, hint=_CERTIFICATE)
    return Verdict(fault.reason, ModelUnavailable, Retry.BUDGET, _LATER)


def _judge_refusal(fault: Refusal) -> Verdict:
    told = _told(fault.text)
    reason = f"{_title(fault.status)}: {told}" if told else _title(fault.status)
    return Verdict(reason, *_sentence(fault.status, fault.text), _after(fault.headers))


def _too_long(status: int, text: str) -> bool:
    # "too many tokens" with 429 is about speed
    return status == 413 or bool((_NEVER_FITS if status == 429 else _OVERFLOW).search(text))


def _no_access(status: int, text: str) -> bool:
    return status in (401, 403) or (status == 400 and bool(_BAD_KEY.search(text)))


def _no_money(status: int, text: str) -> bool:
    return status == 402 or bool(_QUOTA.search(text) and not _PASSING.search(text))


def _no_model(status: int, text: str) -> bool:
    return status in (400, 404) and bool(_UNKNOWN_MODEL.search(text))


def _passes(status: int, _: str) -> bool:
    return status in (408, 409, 425, 429) or status >= 500


_Sentence = tuple[type[RlmError], Retry, str]
_REST: _Sentence = (ModelError, Retry.NEVER, "")
_TABLE: tuple[tuple[Callable[[int, str], bool], _Sentence], ...] = (
    (_too_long, (ContextTooLong, Retry.NEVER, "")),
    (_no_access, (CredentialsError, Retry.NEVER, _KEY)),
    (_no_money, (ModelError, Retry.NEVER, _PLAN)),
    (_no_model, (ModelError, Retry.NEVER, _MODEL)),
    (lambda status, _: status == 404, (ModelError, Retry.SOME, _URL)),
    (_passes, (ModelUnavailable, Retry.BUDGET, _LATER)),
)
"""The first that fits."""


def _sentence(status: int, text: str) -> _Sentence:
    return next((sentence for fits, sentence in _TABLE if fits(status, text.lower())), _REST)


def inside(error: Any) -> Refusal | Breakdown:
    """The fault that an error object within a reply of status 200 stands for."""
    wire = error if isinstance(error, dict) else {"message": error}
    code = str(wire.get("code") or wire.get("status") or "")
    text = json.dumps({"error": wire})
    if code.isdecimal() and 400 <= int(code) <= 599:
        return Refusal(int(code), text)
    if _sentence(400, text) != _REST:
        return Refusal(400, text)
    return Breakdown(f"an error in place of an answer: {_told(text)}")


def breakdown(error: BaseException, host: str) -> Breakdown:
    """Why `host` gave no answer. The innermost exception is where the system says what happened."""
    chain = list(_chain(error))
    root = chain[-1]
    if any(isinstance(link, TimeoutError) or "Timeout" in type(link).__name__ for link in chain):
        return Breakdown("no answer in time")
    if isinstance(root, ssl.SSLCertVerificationError):
        return Breakdown(f"the certificate of {host} is not trusted ({root.verify_message})", lasting=True)
    if isinstance(root, socket.gaierror):
        return Breakdown(f"the name {host} cannot be resolved")
    if isinstance(root, ConnectionRefusedError):
        return Breakdown(f"connection refused by {host}")
    if any(isinstance(link, ConnectionError) or type(link).__name__ in _BROKEN_OFF for link in chain):
        return Breakdown("the connection broke off")
    return Breakdown(f"no connection to {host} ({_line(str(root)) or type(root).__name__})")


_BROKEN_OFF = frozenset({"ReadError", "WriteError", "RemoteProtocolError", "EndOfStream"})  # httpx, httpcore, anyio


def _chain(error: BaseException) -> Iterator[BaseException]:
    yield error
    below = error.exceptions[0] if isinstance(error, BaseExceptionGroup) else error.__cause__ or error.__context__
    if below is not None:
        yield from _chain(below)


def web_page(text: str) -> str:
    """That it is one, and its title; empty if it is none."""
    if not text.lstrip()[:15].lower().startswith(("<!doctype html", "<html")):
        return ""
    title = re.search(r"<title[^>]*>(.*?)</title>", text, re.DOTALL | re.IGNORECASE)
    return f"a web page ({_line(title.group(1))})" if title else "a web page"


def _told(text: str) -> str:
    """The provider's own words."""
    if page := web_page(text):
        return page
    try:
        return _line(_message(json.loads(text)))
    except ValueError:
        return _line(text)


def _message(body: Any) -> str:
    """Providers hide it in many places."""
    if isinstance(body, list) and body:
        return _message(body[0])
    if isinstance(body, dict):
        for name in ("error", "message", "detail", "msg"):
            if body.get(name):
                return _message(body[name])
    return body if isinstance(body, str) else json.dumps(body)


def _line(text: str, limit: int = 300) -> str:
    text = " ".join(text.split())
    return text if len(text) <= limit else text[:limit] + "…"


def _title(status: int) -> str:
    try:
        return f"{status} {HTTPStatus(status).phrase}"
    except ValueError:
        return str(status)


def _after(headers: Mapping[str, str]) -> float | None:
    """Retry-After: seconds or a date; OpenAI also has milliseconds."""
    plain = {name.lower(): value.strip() for name, value in headers.items()}
    try:
        if "retry-after-ms" in plain:
            return max(0.0, float(plain["retry-after-ms"]) / 1000)
        wanted = plain.get("retry-after", "")
        return max(0.0, float(wanted)) if wanted[:1].isdigit() else _until(wanted, plain.get("date", ""))
    except ValueError:
        return None


def _until(date: str, now: str) -> float | None:
    """By the provider's own clock, if it says how late it is: ours may be wrong."""
    if not date:
        return None
    today = parsedate_to_datetime(now).timestamp() if now else time.time()
    return max(0.0, parsedate_to_datetime(date).timestamp() - today)
