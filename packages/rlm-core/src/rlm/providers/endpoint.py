"""The endpoint of a model, and the connection settings for it: its URL, the proxy and the certificates."""

from __future__ import annotations

import asyncio
import importlib.util
import ipaddress
import re
import ssl
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import SplitResult, parse_qsl, urlsplit

from rlm.errors import ConfigError
from rlm.providers.url_problems import for_display, suggested_url, url_problem

OPENAI_HOST = "https://api.openai.com/"
OPENAI = f"{OPENAI_HOST}v1"
_OPENAI_DOMAIN = ".api.openai.com"
_AZURE_DOMAINS = tuple(
    f".{name}.azure.{top}" for name in ("openai", "services.ai", "cognitiveservices") for top in ("com", "us", "cn")
)
_PRIVATE = (".local", ".localhost", ".internal", ".lan")
_PATHS = ("/chat/completions", "/responses")
_PORTS = {"http": 80, "https": 443}
_PROBE = 3.0  # seconds

_PROXIES = ("http", "https", "socks5", "socks5h")
_SOCKS = (
    "{name} names a SOCKS proxy, for which Python needs the package socksio: ./install.sh --with socksio. "
    "To reach the server without the proxy, name it in NO_PROXY."
)


@dataclass(frozen=True, slots=True)
class Endpoint:
    """An endpoint. `base_url` None: OpenAI. `api_key` None: no key is sent."""

    base_url: str | None = None
    api_key: str | None = field(default=None, repr=False)

    @property
    def url(self) -> str:
        """The base URL without its query, and without the path of a request (such as /chat/completions)."""
        return self._parts._replace(path=self._path, query="", fragment="").geturl()

    @property
    def query(self) -> dict[str, str]:
        """The query of the URL, such as Azure's api-version. It goes into each request."""
        return dict(parse_qsl(self._parts.query, keep_blank_values=True))

    @property
    def host(self) -> str:
        """Name and port, without a password in the URL."""
        return self._parts.netloc.rpartition("@")[2]

    @property
    def secure(self) -> bool:
        return self._parts.scheme == "https"

    @property
    def is_openai(self) -> bool:
        """True if the endpoint has OpenAI's own API: OpenAI, one of its regions, or Azure in OpenAI's form."""
        name = (self._parts.hostname or "").rstrip(".")
        if f".{name}".endswith(_OPENAI_DOMAIN):
            return True
        return name.endswith(_AZURE_DOMAINS) and self._path.lower().endswith("/openai/v1")

    @property
    def is_public(self) -> bool:
        """True for a public host name; false for an address, or a name of only this machine or network."""
        name = (self._parts.hostname or "").rstrip(".")
        return "." in name and not name.endswith(_PRIVATE) and not name.rpartition(".")[2].isdigit()

    @property
    def address(self) -> tuple[str, int]:
        return self._parts.hostname or "", self._parts.port or _PORTS[self._parts.scheme]

    def check(self) -> None:
        """Validate the base URL.

        Raises:
            ConfigError: it cannot be used.
        """
        url = (self.base_url or OPENAI).strip()
        if self._parts.scheme not in _PORTS or not self._parts.netloc:
            hint = f" Did you mean {found}?" if (found := suggested_url(url)) else ""
            raise ConfigError(f"The base URL {for_display(url)} must begin with http:// or https:// and a host.{hint}")
        if why := url_problem(url):
            raise self.refused(why)

    def refused(self, why: str) -> ConfigError:
        url = for_display((self.base_url or OPENAI).strip())
        return ConfigError(f"The base URL {url} cannot be used: {why}. Correct RLM_BASE_URL or OPENAI_BASE_URL.")

    @property
    def _parts(self) -> SplitResult:
        url = (self.base_url or OPENAI).strip()
        try:
            parts = urlsplit(url)
        except ValueError:  # its host is not valid
            scheme, _, rest = url.partition("://")
            return SplitResult(scheme.lower(), rest, "", "", "")
        return parts._replace(scheme=parts.scheme.lower())

    @property
    def _path(self) -> str:
        path = self._parts.path.rstrip("/")
        return next((path.removesuffix(end) for end in _PATHS if path.endswith(end)), path)


# ---- the proxy


@dataclass(frozen=True, slots=True)
class Proxy:
    """A proxy. `variable` is the environment variable that names it; empty: the system's settings name it."""

    url: str
    variable: str = ""

    @property
    def secure(self) -> bool:
        return self.url.lower().startswith("https:")

    def __str__(self) -> str:
        return f"the proxy {urlsplit(self.url).netloc.rpartition('@')[2]}"

    def refused(self, why: str) -> ConfigError:
        """Return an error that does not contain the URL, because there may be a password in it."""
        name = self.variable or "of the system"
        return ConfigError(f"The URL of the proxy, {name}, cannot be used: {why}. Correct or unset it.")


def proxy_for(endpoint: Endpoint, environ: Mapping[str, str]) -> Proxy | None:
    """Return the proxy that the environment names for an endpoint, or None.

    Raises:
        ConfigError: it cannot be used.
    """
    host, port = endpoint.address
    exceptions = (environ.get("no_proxy") or environ.get("NO_PROXY") or "").lower()
    if any(_covers(each, host.lower(), port) for each in re.split(r"[\s,]+", exceptions) if each):
        return None
    kind = "https" if endpoint.secure else "http"
    names = (f"{kind}_proxy", f"{kind}_proxy".upper(), "all_proxy", "ALL_PROXY")
    name = next((name for name in names if environ.get(name, "").strip()), "")
    url = environ[name].strip() if name else _system_proxy(kind)
    if not url:
        return None
    url = url if "://" in url else f"http://{url}"
    scheme = url.partition("://")[0].lower()
    if scheme not in _PROXIES:
        raise ConfigError(f"{name or 'The proxy'} begins with {scheme}://. A proxy is one of: {', '.join(_PROXIES)}.")
    if scheme.startswith("socks") and importlib.util.find_spec("socksio") is None:
        raise ConfigError(_SOCKS.format(name=name or "The system"))
    proxy = Proxy(url, name)
    if why := url_problem(url) or ("" if urlsplit(url).netloc else "it has no host"):
        raise proxy.refused(why)
    return proxy


def _system_proxy(kind: str) -> str:
    if sys.platform != "darwin":  # other systems have only the environment
        return ""
    from urllib.request import getproxies

    return getproxies().get(kind, "")


def _covers(exception: str, host: str, port: int) -> bool:
    """Return whether a NO_PROXY entry covers a host.

    An entry is `*`, a name (which covers its subdomains too), an address or a network; all but `*` may have a port.
    """
    if exception == "*":
        return True
    exception = exception.rpartition("://")[2]
    if _is_within(host, exception):
        return True
    found = re.fullmatch(r"\[(.*)\](?::(\d+))?|([^:]*)(?::(\d+))?", exception)
    name, wanted = (found[1] or found[3] or "", found[2] or found[4] or "") if found else (exception, "")
    if wanted not in ("", str(port)):
        return False
    name = name.removeprefix("*").removeprefix(".")
    return name != "" and (_is_within(host, name) or host == name or host.endswith(f".{name}"))


def _is_within(host: str, network: str) -> bool:
    try:
        return ipaddress.ip_address(host) in ipaddress.ip_network(network, strict=False)
    except (ValueError, TypeError):
        return False


# ---- certificates


def tls_context(endpoint: Endpoint, environ: Mapping[str, str]) -> ssl.SSLContext | bool:
    """Return the `verify` argument of httpx; True means its own certificates.

    An endpoint without TLS gets an empty context, because reading the certificates takes 25 ms and more. An empty
    context refuses every certificate.

    Raises:
        ConfigError: the file that the environment names cannot be used.
    """
    if not endpoint.secure:
        return ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    for name in ("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "SSL_CERT_DIR"):
        if path := environ.get(name, "").strip():
            return _context_of(name, Path(path))
    return True


def _context_of(name: str, path: Path) -> ssl.SSLContext:
    if not path.exists():
        raise ConfigError(f"{name}={path}: there is no such file. Correct or unset {name}.")
    try:
        if path.is_dir():
            return ssl.create_default_context(capath=path)
        return ssl.create_default_context(cafile=path)
    except OSError as error:  # ssl.SSLError is one
        why = getattr(error, "reason", None) or error.strerror or str(error)
        raise ConfigError(f"{name}={path} cannot be read as certificates ({why}). Correct or unset {name}.") from None


async def speaks_tls(endpoint: Endpoint) -> bool:
    """Return whether a server that closes plain HTTP connections expects https. Only a TLS handshake is sent."""
    unverified = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    unverified.check_hostname = False
    unverified.verify_mode = ssl.CERT_NONE
    try:
        async with asyncio.timeout(_PROBE):
            _, writer = await asyncio.open_connection(*endpoint.address, ssl=unverified)
    except (OSError, TimeoutError):
        return False
    writer.close()
    return True
