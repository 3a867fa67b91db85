"""Why there was no answer: from the exceptions of the HTTP client and the system to a fault. Pure."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Iterator, Sequence

from rlm.models.error_body import one_line
from rlm.models.faults import PROXY, Breakdown

BROKE_OFF = "the connection broke off"

_CERTIFICATE = "Set SSL_CERT_FILE to a file that holds your authority's certificate."
_NO_TLS = ("WRONG_VERSION_NUMBER", "HTTP_REQUEST", "UNKNOWN_PROTOCOL", "RECORD_LAYER_FAILURE", "PACKET_LENGTH_TOO_LONG")
_UNDER_WAY = (ssl.SSLWantReadError, ssl.SSLWantWriteError)
_BY_PROXY = "ProxyError"  # httpx, httpcore: it answered, and would not connect
_BROKEN_OFF = frozenset({"ReadError", "WriteError", "RemoteProtocolError", "EndOfStream"})  # httpx, httpcore, anyio


def breakdown(error: BaseException, host: str) -> Breakdown:
    """Why `host` gave no answer. The innermost exception is where the system says what happened."""
    chain = list(_chain(error))
    host = _redirected_to(chain) or host
    root, names = chain[-1], {type(link).__name__ for link in chain}
    tls = [link for link in chain if isinstance(link, ssl.SSLError) and not isinstance(link, _UNDER_WAY)]
    if tls:
        return _tls_breakdown(tls[-1], host)
    if _BY_PROXY in names:
        why = one_line(str(error.__cause__ or error))
        return Breakdown(f"{host} refuses to connect ({why})", lasting=True, hint=PROXY)
    if _speaks_tls(root):
        return Breakdown(f"{host} speaks https, not http", lasting=True, hint="Set RLM_BASE_URL to an https:// URL.")
    if "TooManyRedirects" in names:
        return Breakdown(f"{host} redirects again and again", lasting=True, hint="Check RLM_BASE_URL.")
    if "DecodingError" in names:
        return Breakdown("the reply cannot be decompressed", unreadable=True)
    return _unanswered(chain, names, host)


def _redirected_to(chain: Sequence[BaseException]) -> str:
    """The host that failed, if it is not the one that was asked first."""
    asked = list(filter(None, map(_asked, chain)))
    return asked[-1] if asked and asked[-1] != asked[0] else ""


def _asked(error: BaseException) -> str:
    """The host of the request that an exception of the HTTP client speaks of, if it does."""
    try:
        host: str = error.request.url.netloc.decode()  # type: ignore[attr-defined]
    except (AttributeError, RuntimeError):
        return ""
    return host


def _unanswered(chain: Sequence[BaseException], names: set[str], host: str) -> Breakdown:
    root = chain[-1]
    if isinstance(root, socket.gaierror):
        return Breakdown(f"the name {host} cannot be resolved", unreached=True)
    if isinstance(root, ConnectionRefusedError):
        return Breakdown(f"connection refused by {host}", unreached=True)
    if any(isinstance(link, TimeoutError) for link in chain) or any("Timeout" in name for name in names):
        return Breakdown("no answer in time", unreached="ConnectTimeout" in names)
    if any(isinstance(link, ConnectionError) for link in chain) or names & _BROKEN_OFF:
        return Breakdown(BROKE_OFF)
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


def _chain(error: BaseException) -> Iterator[BaseException]:
    yield error
    below = error.exceptions[0] if isinstance(error, BaseExceptionGroup) else error.__cause__ or error.__context__
    if below is not None:
        yield from _chain(below)
