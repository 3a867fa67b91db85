"""How the model is reached: URLs, proxies, certificates."""

from __future__ import annotations

import os
import socket
import ssl
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
from rlm.errors import ConfigError
from rlm.providers.endpoint import Endpoint, proxy_for, tls_context
from rlm_testkit import scripted
from rlm_testkit.scripted import Scripted, always, error, text

ASK = """
import asyncio, sys
from rlm.errors import RlmError
from rlm.core.messages import User
from rlm.providers.endpoint import Endpoint
from rlm.providers.client import OpenAIClient
async def main(url):
    async with OpenAIClient(Endpoint(url), budget=0.2, first_pause=0.02) as client:
        reply = await client.model("m", depth=0, sink=lambda _: None, stream=False).complete([User("hi")], [])
        print(reply.message.text)
try:
    asyncio.run(main(sys.argv[1]))
except RlmError as error:
    print(error)
"""


def error_of(url: str, **environ: str) -> str:
    """Send a request with these environment variables, and return the error."""
    env = {name: value for name, value in os.environ.items() if "proxy" not in name.lower()} | environ
    return subprocess.run([sys.executable, "-c", ASK, url], env=env, capture_output=True, text=True, check=True).stdout


def closed_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return int(taken.getsockname()[1])


@pytest.mark.parametrize(
    ("written", "url", "query"),
    [
        ("http://h:1/v1", "http://h:1/v1", {}),
        (" http://h:1/v1/ \n", "http://h:1/v1", {}),
        ("HTTP://h:1/v1/chat/completions/", "http://h:1/v1", {}),
        (
            "https://h/openai/deployments/d?api-version=2024-10-21",
            "https://h/openai/deployments/d",
            {"api-version": "2024-10-21"},
        ),
        ("https://h/v1#part", "https://h/v1", {}),
    ],
)
def test_a_base_url_is_normalized(written: str, url: str, query: dict[str, str]) -> None:
    endpoint = Endpoint(written)
    endpoint.check()
    assert (endpoint.url, endpoint.query) == (url, query)


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("localhost:8000/v1", "http://localhost:8000/v1"),
        ("127.0.0.1:80", "http://127.0.0.1:80"),
        ("gpu-box:8000/v1", "http://gpu-box:8000/v1"),
        ("api.example.com/v1", "https://api.example.com/v1"),
        ("http:/127.0.0.1:8000/v1", "http://127.0.0.1:8000/v1"),
        ("http:127.0.0.1:8000/v1", "http://127.0.0.1:8000/v1"),
        ("HTTPS//api.example.com", "https://api.example.com"),
        ("http:///localhost/v1", "http://localhost/v1"),
        ("ftp://h/v1", ""),
        ("http://", ""),
        ("v1", ""),
        ("/v1", ""),
        ("user:word-1@api.example.com/v1", ""),
        ("http:/exa mple:80", ""),
    ],
)
def test_an_invalid_url_is_refused_and_another_is_suggested_if_possible(written: str, meant: str) -> None:
    with pytest.raises(ConfigError, match="must begin with http:// or https://") as caught:
        Endpoint(written).check()
    assert str(caught.value).partition(" Did you mean ")[2] == (f"{meant}?" if meant else "")
    assert "word-1" not in str(caught.value)


UNUSABLE = {
    "http://127.0.0.1:notaport/v1": "its port is not a number from 1 to 65535",
    "http://a:99999": "its port",
    "http://a:0/v1": "its port",
    "http://a:-1/v1": "its port",
    "http://a:1:2": "its port",
    "http://[::1": "the brackets of its host",
    "http://[::1]x:80": "",
    "http://[zz]:80/v1": "the brackets of its host",
    "http://\u00fcn..c/v1": "its host is not a valid name",
    "http://.../v1": "its host is not a valid name",
    "http://a..b/v1": "its host is not a valid name",
    "http://%zz/v1": "its host is not a valid name",
    f"http://{'a' * 64}/v1": "its host is not a valid name",
    "http://256.1.1.1/v1": "its host is not an IPv4 address",
    "http://exa mple:80/v1": "there is a blank in its host",
    "http://:80/v1": "it has no host",
    "http://a\x01b/v1": r"it contains an invisible character \(U\+0001\)",
    "http://a/v1\x7f": r"it contains an invisible character \(U\+007F\)",
    "http://\u2066a/v1": r"it contains an invisible character \(U\+2066\)",
    "http://a/v1\udc80": "it contains an invisible character",
    "http://user:word-1?x@proxy": "must be percent-encoded",
    "http://user:word-1/x@proxy:80": "must be percent-encoded",
    "http://user:word-1[x@proxy": "must be percent-encoded",
}
"""URLs to which no request can be sent, and the reason."""


@pytest.mark.parametrize(("url", "why"), UNUSABLE.items())
def test_a_url_that_cannot_be_used_is_refused_with_its_variable(url: str, why: str) -> None:
    with pytest.raises(ConfigError, match=f"The base URL.* cannot be used: .*{why}.* Correct RLM_BASE_URL") as caught:
        Endpoint(url).check()
    with pytest.raises(ConfigError, match=f"HTTP_PROXY, cannot be used: .*{why}") as proxy:
        proxy_for(HERE, {"HTTP_PROXY": url})
    assert "word-1" not in f"{caught.value}{proxy.value}"


@pytest.mark.parametrize(
    "url", ["http://a_b/v1", "http://[fe80::1%25eth0]:80/v1", "http://ünc.example./v1", "http://h/a b"]
)
def test_a_url_that_only_looks_odd_is_accepted(url: str) -> None:
    Endpoint(url).check()


def test_a_url_that_only_the_http_client_refuses_is_reported_with_its_variable_too() -> None:
    assert "The base URL http://☃.net/v1 cannot be used: the HTTP client does not accept it" in error_of(
        "http://☃.net/v1"
    )
    output = error_of("http://api.example.invalid/v1", all_proxy="http://user:word-1@☃.net")
    assert output.startswith(
        "The URL of the proxy, all_proxy, cannot be used: the HTTP client does not accept it as a URL."
    )


def test_a_query_belongs_to_each_request() -> None:
    with Scripted(always(text("hi"))) as server:
        assert error_of(f"{server.url}/chat/completions?api-version=7") == "hi\n"
    assert server.requests[0].path == "/v1/chat/completions?api-version=7"


HERE = Endpoint("http://127.0.0.1:8000/v1")
SIX = Endpoint("http://[::1]:8000/v1")
NAMED = Endpoint("https://api.example.com/v1")


@pytest.mark.parametrize(
    ("endpoint", "exceptions"),
    [
        (HERE, "*"),
        (HERE, "127.0.0.1"),
        (HERE, "localhost, 127.0.0.0/8"),
        (HERE, "127.0.0.1:8000"),
        (HERE, "http://127.0.0.1"),
        (SIX, "::1"),
        (SIX, "[::1]:8000"),
        (SIX, "::/64"),
        (NAMED, "example.com"),
        (NAMED, ".Example.com"),
        (NAMED, "*.example.com"),
        (NAMED, "other.org api.example.com:443"),
    ],
)
def test_hosts_in_no_proxy_are_reached_directly(endpoint: Endpoint, exceptions: str) -> None:
    environ = {"ALL_PROXY": "socks5://p:1", "NO_PROXY": exceptions}
    assert proxy_for(endpoint, environ) is None


@pytest.mark.parametrize(
    ("endpoint", "exceptions"),
    [
        (HERE, ""),
        (HERE, "127.0.0.1:80"),
        (HERE, "10.0.0.0/8"),
        (HERE, "27.0.0.1"),
        (SIX, "::2"),
        (NAMED, "ample.com"),
        (NAMED, ",,"),
    ],
)
def test_hosts_that_are_not_in_no_proxy_are_reached_through_the_proxy(endpoint: Endpoint, exceptions: str) -> None:
    environ = {"all_proxy": "http://user:secret@p:1", "NO_PROXY": exceptions}
    assert str(proxy_for(endpoint, environ)) == "the proxy p:1"


def test_the_variable_of_the_scheme_comes_first_and_a_scheme_may_be_left_out() -> None:
    environ = {"https_proxy": "a:1", "HTTP_PROXY": "b:2", "ALL_PROXY": "c:3"}
    assert [getattr(proxy_for(each, environ), "url", None) for each in (NAMED, HERE)] == ["http://a:1", "http://b:2"]


@pytest.mark.parametrize("scheme", ["foo", "socks4", "ftp"])
def test_a_proxy_with_an_unknown_scheme_is_refused_with_its_variable(scheme: str) -> None:
    with pytest.raises(ConfigError, match=f"HTTP_PROXY begins with {scheme}://"):
        proxy_for(HERE, {"HTTP_PROXY": f"{scheme}://p:1"})


def test_a_proxy_that_refuses_is_named_and_not_the_server() -> None:
    port = closed_port()
    output = error_of("http://api.example.invalid/v1", HTTP_PROXY=f"http://user:secret@127.0.0.1:{port}")
    assert output.startswith(f"connection refused by the proxy 127.0.0.1:{port}")
    assert output.endswith("Is the proxy running? Check HTTP_PROXY.\n")
    assert "secret" not in output
    output = error_of("https://api.example.invalid/v1", https_proxy="http://no-such-proxy.invalid:1")
    assert output.startswith("the name of the proxy no-such-proxy.invalid:1 cannot be resolved")
    assert output.endswith("Is the proxy running? Check https_proxy.\n")
    with Scripted(always(error(502, "no way"))) as proxy:
        output = error_of("https://api.example.invalid/v1", ALL_PROXY=proxy.url)
    assert output.startswith(f"the proxy {proxy.url.split('/')[2]} refuses to connect (")
    assert output.endswith("Check ALL_PROXY, or name the server in NO_PROXY.\n")


def test_a_proxy_that_wants_a_password_is_reported_as_such() -> None:
    with Scripted(always(error(407, "who are you?"))) as proxy:
        output = error_of("http://api.example.invalid/v1", http_proxy=proxy.url)
    assert output.startswith("407 Proxy Authentication Required: who are you?. Set user and password")


@pytest.mark.parametrize("name", ["SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "SSL_CERT_DIR"])
def test_missing_and_invalid_certificates_are_reported_with_their_variable(name: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=f"{name}=/no/such.pem: there is no such file"):
        tls_context(NAMED, {name: "/no/such.pem"})
    broken = tmp_path / "broken.pem"
    broken.write_text("no certificate")
    with pytest.raises(ConfigError, match=f"{name}={broken} cannot be read as certificates"):
        tls_context(NAMED, {name: str(broken)})
    assert isinstance(tls_context(HERE, {name: "/no/such.pem"}), ssl.SSLContext)


def test_http_spoken_to_https_and_the_reverse_are_reported_as_such() -> None:
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(Path(scripted.__file__).with_name("untrusted.pem"))
    with Scripted(always(text("hi")), tls=tls) as server:
        assert "uses https, not http. Set RLM_BASE_URL" in error_of(server.url.replace("https", "http"))
    with HTTPServer(("127.0.0.1", 0), BaseHTTPRequestHandler) as plain:  # answers 400 to bytes that are not HTTP
        threading.Thread(target=plain.serve_forever, daemon=True).start()
        assert "uses http, not https. Set RLM_BASE_URL" in error_of(f"https://127.0.0.1:{plain.server_port}/v1")
        plain.shutdown()


def test_a_redirect_that_loses_the_request_is_reported_with_its_target() -> None:
    moved = scripted.Answer(status=301, headers={"Location": "/v2/"})
    with Scripted(lambda request: moved if request.path.startswith("/v1") else error(405, "GET?")) as server:
        assert error_of(server.url) == "the server redirects to /v2/. Set RLM_BASE_URL to that URL.\n"
