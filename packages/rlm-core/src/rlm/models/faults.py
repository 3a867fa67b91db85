"""What a provider's failure means: one table from status, text and cause to a verdict. Pure. See docs/faults.md."""

from __future__ import annotations

import json
import re
import socket
import ssl
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
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
    BRIEFLY = "for ten seconds, unless the server has answered in this run"
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
    """There was no answer, or none that makes sense. `reason` is short.

    `unreadable`: there was one, in a form that cannot be read; another form may be. `unreached`: nobody answered.
    `lasting`: it will be the same next time; `hint` says what to do.
    """

    def __init__(
        self,
        reason: str,
        *,
        unreadable: bool = False,
        unreached: bool = False,
        lasting: bool = False,
        hint: str = "",
    ) -> None:
        super().__init__(reason)
        self.reason = reason
        self.unreadable = unreadable
        self.unreached = unreached
        self.lasting = lasting
        self.hint = hint


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
_RUNNING = "Is the server running? Check RLM_BASE_URL."
_PROXY = "Set user and password in the proxy's URL (HTTP_PROXY, HTTPS_PROXY)."
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
_QUOTA = re.compile(
    r"insufficient_(user_)?quota|insufficient (account )?(balance|credits?|funds)|credit balance is too low"
    r"|check your (plan and )?billing|billing_(hard_limit|not_active)|billing hard limit"
    r"|budget.{0,20}exceeded|exceeded.?budget|over budget|exceeds? (the |your )?budget|max budget"  # LiteLLM
    r"|exceeded_current_quota|spend(ing)? (limit|cap)|used all available credits|(requires|out of) (more )?credits"
    r"|(key|credit|credits|token quota) (limit )?(has been )?(exceeded|exhausted)|no resource package|arrearage"
    r"|usage limit (has been )?(reached|exceeded)|quota.{0,20}(exhausted|used up)|allocationquota|余额不足"
)
_PASSING = re.compile(r"retrydelay|per minute|requests? per|tokens? per")  # Gemini's rate limit speaks of billing, too
_BAD_KEY = re.compile(r"(invalid|incorrect|no|missing) api[ _-]?key|api[ _-]?key (is )?(not valid|invalid|missing)")
_UNKNOWN_MODEL = re.compile(
    r"\b(model|deployment)\b[^.;]{0,100}?( not found|\bnot exist|n't exist|\bnot available|\bnot supported$)"
    r"|\b(model|deployment) [`'\"\w./:@-]+ (is )?(unknown|invalid|not supported)"
    r"|unknown model|invalid model|no such model|not a valid model|could not find (the )?model|model_?not_?found"
    r"|api deployment for this resource does not exist|no endpoints found (for|matching)|model.not.exist",
)
TEMPLATE = re.compile(
    r"jinja|chat[_ ]template|templateerror|raise_exception|while executing \w+ at line|after the optional system"
    r"|roles must alternate|unexpected role|message_order|unable to generate parser|error rendering"
    r"|parse tool call arguments|json\.exception\.",
)
"""How servers say that the model's chat template refuses the messages: the same ones it refuses always."""


def judge(fault: Refusal | Breakdown) -> Verdict:
    """What to do about it."""
    if isinstance(fault, Refusal):
        return _judge_refusal(fault)
    if fault.lasting:
        return Verdict(fault.reason, ModelError, hint=fault.hint)
    if fault.unreached:
        return Verdict(fault.reason, ModelUnavailable, Retry.BRIEFLY, _RUNNING)
    return Verdict(fault.reason, ModelUnavailable, Retry.BUDGET, _LATER)


def _judge_refusal(fault: Refusal) -> Verdict:
    told = _told(fault.text)
    reason = f"{_title(fault.status)}: {told}" if told else _title(fault.status)
    return Verdict(reason, *_sentence(fault.status, fault.text), _after(fault.headers))


def _too_long(status: int, text: str) -> bool:
    # "too many tokens" with 429 is about speed
    return status == 413 or bool((_NEVER_FITS if status == 429 else _OVERFLOW).search(text))


def _no_money_here(status: int, text: str) -> bool:
    """Some say with 403 or 401 that a key has spent its budget."""
    return status in (401, 403) and _no_money(status, text)


def _no_access(status: int, text: str) -> bool:
    return status in (401, 403) or (status == 400 and bool(_BAD_KEY.search(text)))


def _no_money(status: int, text: str) -> bool:
    return status == 402 or (status in _REFUSING and bool(_QUOTA.search(text)) and not _PASSING.search(text))


_REFUSING = (400, 401, 403, 429)  # a gateway's 503 may speak of its own budget of retries


def _no_model(status: int, text: str) -> bool:
    """By the message and the code alone: every other field may speak of models, and of what is invalid."""
    return status in (400, 404, 422) and any(_UNKNOWN_MODEL.search(said) for said in _sayings(text))


def _refused_by_template(status: int, text: str) -> bool:
    return status in (400, 422, 500, 501) and bool(TEMPLATE.search(text))


def _wants_tls(status: int, text: str) -> bool:
    return status == 400 and bool(_PLAIN_HTTP.search(text))


_PLAIN_HTTP = re.compile(r"http request (was sent )?to (an )?https (port|server)|requires tls")


def _passes(status: int, _: str) -> bool:
    return status in (408, 409, 425, 429) or status >= 500


_Sentence = tuple[type[RlmError], Retry, str]
_REST: _Sentence = (ModelError, Retry.NEVER, "")
_TABLE: tuple[tuple[Callable[[int, str], bool], _Sentence], ...] = (
    (_too_long, (ContextTooLong, Retry.NEVER, "")),
    (_wants_tls, (ModelError, Retry.NEVER, "The server speaks https: set RLM_BASE_URL so.")),
    (_refused_by_template, (ModelError, Retry.NEVER, "")),
    (lambda status, _: status == 407, (ModelError, Retry.NEVER, _PROXY)),
    (_no_money_here, (ModelError, Retry.NEVER, _PLAN)),
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
    root, names = chain[-1], {type(link).__name__ for link in chain}
    tls = [link for link in chain if isinstance(link, ssl.SSLError) and not isinstance(link, _UNDER_WAY)]
    if tls:
        return _tls_breakdown(tls[-1], host)
    if _BY_PROXY in names:
        why = one_line(str(error.__cause__ or error))
        return Breakdown(f"{host} refuses to connect ({why})", lasting=True, hint=_PROXY)
    if _speaks_tls(root):
        return Breakdown(f"{host} speaks https, not http", lasting=True, hint="Set RLM_BASE_URL to an https:// URL.")
    if "DecodingError" in names:
        return Breakdown("the reply cannot be decompressed", unreadable=True)
    return _unanswered(chain, names, host)


def _unanswered(chain: Sequence[BaseException], names: set[str], host: str) -> Breakdown:
    root = chain[-1]
    if isinstance(root, socket.gaierror):
        return Breakdown(f"the name {host} cannot be resolved", unreached=True)
    if isinstance(root, ConnectionRefusedError):
        return Breakdown(f"connection refused by {host}", unreached=True)
    if any(isinstance(link, TimeoutError) for link in chain) or any("Timeout" in name for name in names):
        return Breakdown("no answer in time", unreached="ConnectTimeout" in names)
    if any(isinstance(link, ConnectionError) for link in chain) or names & _BROKEN_OFF:
        return Breakdown("the connection broke off")
    return Breakdown(f"no connection to {host} ({one_line(str(root)) or type(root).__name__})", unreached=True)


def _speaks_tls(error: BaseException) -> bool:
    """A TLS alert in place of an HTTP status line."""
    text = str(error)
    return "\x15\x03" in text or "\\x15\\x03" in text


def _tls_breakdown(error: ssl.SSLError, host: str) -> Breakdown:
    if isinstance(error, ssl.SSLCertVerificationError):
        why = f"the certificate of {host} is not trusted ({error.verify_message})"
        return Breakdown(why, lasting=True, hint=_CERTIFICATE)
    if error.reason in _NO_TLS:
        return Breakdown(f"{host} speaks http, not https", lasting=True, hint="Set RLM_BASE_URL to an http:// URL.")
    return Breakdown(f"no TLS connection to {host} ({one_line(error.reason or str(error))})")


_NO_TLS = ("WRONG_VERSION_NUMBER", "HTTP_REQUEST", "UNKNOWN_PROTOCOL", "RECORD_LAYER_FAILURE", "PACKET_LENGTH_TOO_LONG")
_UNDER_WAY = (ssl.SSLWantReadError, ssl.SSLWantWriteError)
_BY_PROXY = "ProxyError"  # httpx, httpcore: it answered, and would not connect


_BROKEN_OFF = frozenset({"ReadError", "WriteError", "RemoteProtocolError", "EndOfStream"})  # httpx, httpcore, anyio


def _chain(error: BaseException) -> Iterator[BaseException]:
    yield error
    below = error.exceptions[0] if isinstance(error, BaseExceptionGroup) else error.__cause__ or error.__context__
    if below is not None:
        yield from _chain(below)


def _sayings(text: str) -> list[str]:
    """The message and the code of an error body."""
    try:
        body = json.loads(text)
    except ValueError:
        return [text]
    error = body.get("error") if isinstance(body, dict) else None
    said = [_message(body), *(where.get("code") for where in (error, body) if isinstance(where, dict))]
    return [each for each in said if isinstance(each, str)]


def web_page(text: str) -> str:
    """That it is one, and its title; empty if it is none."""
    if not text.lstrip()[:15].lower().startswith(("<!doctype html", "<html")):
        return ""
    title = re.search(r"<title[^>]*>(.*?)</title>", text, re.DOTALL | re.IGNORECASE)
    return f"a web page ({one_line(title.group(1))})" if title else "a web page"


def _told(text: str) -> str:
    """The provider's own words."""
    if page := web_page(text):
        return page
    text = text.strip().removeprefix("data:")  # an error may come as an event
    try:
        return one_line(_message(json.loads(text)))
    except ValueError:
        return one_line(text)


def _message(body: Any) -> str:
    """Providers hide it in many places."""
    if isinstance(body, list) and body:
        return _message(body[0])
    if isinstance(body, dict):
        for name in ("error", "message", "detail", "msg"):
            if body.get(name):
                return _message(body[name])
    return body if isinstance(body, str) else json.dumps(body)


def one_line(text: str, limit: int = 300) -> str:
    """For a message."""
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
