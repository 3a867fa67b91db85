"""The credentials in the settings and the environment, and their removal from texts."""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from rlm.config.environment import environment, original
from rlm.config.settings import Config
from rlm.process.programs import safe_path
from rlm.text.redact import REDACTED, Redactor, credentials_of, has_credentials, without_credentials

KEY_VARIABLES = ("RLM_API_KEY", "OPENAI_API_KEY")
BASE_URLS = ("RLM_BASE_URL", "OPENAI_BASE_URL")
SECRET_WORDS = ("TOKEN", "PASSWORD", "SECRET", "KEY", "CREDENTIAL")
_PROXIES = ("http_proxy", "https_proxy", "all_proxy")


def take_environment() -> None:
    """Remove credentials from `os.environ`. A command calls this first; then only this module has the original values.

    The remaining variables, for libraries and their programs, have no credentials. Their PATH has no folders in which a
    cell could have put a program.
    """
    original.update(os.environ)
    redactor = redactor_of_environment()
    for name, value in original.items():
        leads = name.endswith("_BASE_URL") and has_credentials(value)
        if leads or name in KEY_VARIABLES or redactor.occurs_in(value):
            del os.environ[name]
    with suppress(OSError):  # the working directory was removed: code that needs it reports that
        os.environ["PATH"] = safe_path(original.get("PATH", os.defpath), [Path.cwd()])


def redactor_of(config: Config) -> Redactor:
    """Return a redactor for the key in use and the credentials for MCP servers."""
    return Redactor([*([config.api_key] if config.api_key else []), *config.mcp.secrets])


def redactor_of_environment(environ: Mapping[str, str] | None = None) -> Redactor:
    """Return a redactor for every key in the environment, for errors, whichever settings are in use."""
    environ = environment(environ)
    return Redactor(key.strip() for name in KEY_VARIABLES if (key := environ.get(name)))


def hide_credentials(text: str, config: Config | None = None, environ: Mapping[str, str] | None = None) -> str:
    """Return `text` for display: without the keys of settings, and without the credentials in URLs of any variable."""
    environ = environment(environ)
    text = redactor_of_environment(environ).text(text)
    urls = [word for value in environ.values() for word in value.split() if "://" in word]
    if config is not None:
        text = redactor_of(config).text(text)
    urls += filter(None, (config.base_url if config else None, *(environ.get(name) for name in BASE_URLS)))
    for part in sorted(set().union(*map(credentials_of, urls)), key=len, reverse=True):
        text = text.replace(part, REDACTED)
    return without_credentials(text)


def is_provider_credential(name: str, value: str) -> bool:
    """Whether a variable is a credential for the provider, in a URL or by its name. The key itself is excluded.

    Without the sandbox all other credentials (PIP_INDEX_URL, DATABASE_URL, …) are the user's, and meant for the
    project.
    """
    if name in BASE_URLS or name.lower() in _PROXIES:
        return has_credentials(value)
    return name.startswith("OPENAI_") and any(word in name for word in (*SECRET_WORDS, "HEADER"))
