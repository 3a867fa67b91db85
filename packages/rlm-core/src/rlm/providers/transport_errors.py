"""Convert exceptions of the HTTP client and the system to a fault that explains why there was no answer. Pure."""

from __future__ import annotations

import re
import socket
import ssl
from collections.abc import Iterator, Sequence

from rlm.providers.endpoint import Proxy
from rlm.providers.error_body import QUOTED
from rlm.providers.errors import PROXY, TransportError
from rlm.text.clip import one_line

BROKE_OFF = "the connection broke off"

_CERTIFICATE = "Set SSL_CERT_FILE to a file that contains your authority's certificate."
_NO_TLS = ("WRONG_VERSION_NUMBER", "HTTP_REQUEST", "UNKNOWN_PROTOCOL", "RECORD_LAYER_FAILURE", "PACKET_LENGTH_TOO_LONG")
_UNDER_WAY = (ssl.SSLWantReadError, ssl.SSLWantWriteError)
_BY_PROXY = "ProxyError"  # httpx, httpcore: the proxy answered, and refused to connect
_BROKEN_OFF = frozenset({"ReadError", "WriteError", "RemoteProtocolError", "EndOfStream"})  # httpx, httpcore, anyio


def refuses_url(error: Exception) -> bool:
    """Return whether the HTTP client (httpx or httpx2, which the SDK chooses) rejects a URL as invalid."""
    return type(error).__name__ == "InvalidURL"


def transport_error(error: BaseException, host: str, proxy: Proxy | None = None) -> TransportError:
    """Return the fault that explains why `host` gave no answer. The innermost exception has the system's reason."""
    chain = list(_chain(error))
    host = _redirected_to(chain) or host
    peer = str(proxy or host)
    root, names = chain[-1], {type(link).__name__ for link in chain}
    tls = [link for link in chain if isinstance(link, ssl.SSLError) and not isinstance(link, _UNDER_WAY)]
    if tls:  # behind a proxy that speaks http, it is an error of the server
        way = proxy if proxy and proxy.secure else None
        return _tls_error(tls[-1], str(way or host), _setting_of(way))
    if _BY_PROXY in names:
        why = one_line(str(error.__cause__ or error), QUOTED)
        hint = (
            PROXY
            if re.search("407|auth", why.lower())
            else f"Check {_setting_of(proxy)}, or name the server in NO_PROXY."
        )
        return TransportError(f"{peer} refuses to connect ({why})", lasting=True, hint=hint)
    if "\x15\x03" in str(root) or "\\x15\\x03" in str(root):  # a TLS alert in place of an HTTP status line
        hint = f"Set {_setting_of(proxy)} to an https:// URL."
        return TransportError(f"{peer} uses https, not http", lasting=True, hint=hint)
    if "TooManyRedirects" in names:
        return TransportError(f"{host} redirects again and again", lasting=True, hint="Check RLM_BASE_URL.")
    if "DecodingError" in names:
        return TransportError("the reply cannot be decompressed", unreadable=True)
    return _unanswered(chain, names, peer, proxy)


def _setting_of(proxy: Proxy | None) -> str:
    """Return the name of the setting that contains the address of the connection."""
    return "RLM_BASE_URL" if proxy is None else proxy.variable or "the system's proxy"


def _redirected_to(chain: Sequence[BaseException]) -> str:
    """Return the host that failed, if a redirect led to it; else empty."""
    asked = list(filter(None, map(_requested_host, chain)))
    return asked[-1] if asked and asked[-1] != asked[0] else ""


def _requested_host(error: BaseException) -> str:
    """Return the host of the request that an exception of the HTTP client contains; else empty."""
    try:
        host: str = error.request.url.netloc.decode()  # type: ignore[attr-defined]
    except (AttributeError, RuntimeError):
        return ""
    return host


def _unanswered(chain: Sequence[BaseException], names: set[str], peer: str, proxy: Proxy | None) -> TransportError:
    root = chain[-1]
    hint = f"Is the proxy running? Check {_setting_of(proxy)}." if proxy else ""
    if isinstance(root, socket.gaierror):
        name = f"the name of {peer}" if proxy else f"the name {peer}"
        return TransportError(f"{name} cannot be resolved", unreached=True, hint=hint)
    if isinstance(root, ConnectionRefusedError):
        return TransportError(f"connection refused by {peer}", unreached=True, hint=hint)
    if any(isinstance(link, TimeoutError) for link in chain) or any("Timeout" in name for name in names):
        return TransportError("no answer in time", unreached="ConnectTimeout" in names, hint=hint)
    if any(isinstance(link, ConnectionError) for link in chain) or names & _BROKEN_OFF:
        return TransportError(BROKE_OFF)
    why = one_line(str(root), QUOTED) or type(root).__name__
    return TransportError(f"no connection to {peer} ({why})", unreached=True, hint=hint)


def _tls_error(error: ssl.SSLError, host: str, variable: str) -> TransportError:
    if isinstance(error, ssl.SSLCertVerificationError):
        why = f"the certificate of {host} is not trusted ({error.verify_message})"
        return TransportError(why, lasting=True, hint=_CERTIFICATE)
    if error.reason in _NO_TLS:
        return TransportError(f"{host} uses http, not https", lasting=True, hint=f"Set {variable} to an http:// URL.")
    return TransportError(f"no TLS connection to {host} ({one_line(error.reason or str(error), QUOTED)})")


def _chain(error: BaseException) -> Iterator[BaseException]:
    yield error
    below = error.exceptions[0] if isinstance(error, BaseExceptionGroup) else error.__cause__ or error.__context__
    if below is not None:
        yield from _chain(below)
