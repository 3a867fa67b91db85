"""The environment of kernels and commands."""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Mapping
from pathlib import Path

from rlm.config.credentials import (
    KEY_VARIABLES,
    SECRET_WORDS,
    is_provider_credential,
    redactor_of,
    redactor_of_environment,
)
from rlm.config.environment import environment, program
from rlm.config.settings import Config
from rlm.process.programs import safe_path
from rlm.text.redact import has_credentials


def child_environment(config: Config, environ: Mapping[str, str] | None = None) -> dict[str, str]:
    """Return the environment of kernels and commands: ours without credentials; in a sandbox, only harmless variables.

    rlm's own settings are left out: a sub-agent gets them from its parent. The folder of our Python has the commands of
    skills. It comes last on PATH, so that `python` stays the user's own.
    """
    environ = environment(environ)
    redactors = (redactor_of(config), redactor_of_environment(environ))
    kept = {
        name: value
        for name, value in environ.items()
        if not name.startswith("RLM_")
        and name not in KEY_VARIABLES
        and not is_provider_credential(name, value)
        and not any(redactor.occurs_in(value) for redactor in redactors)
    }
    if config.sandboxed:
        kept = {name: value for name, value in kept.items() if _is_harmless(name, value)}
    path = kept.get("PATH", os.defpath)
    return kept | {"PATH": f"{path}{os.pathsep}{Path(sys.executable).parent}"}


# The variables of the user's environment that enter a sandbox: no keys, no sockets and no login sessions.
_HARMLESS = """
    PATH HOME USER LOGNAME SHELL LANG LANGUAGE TZ TERM COLUMNS LINES EDITOR PWD CI DEBIAN_FRONTEND
    CC CXX CFLAGS CXXFLAGS CPPFLAGS LDFLAGS LD_LIBRARY_PATH LIBRARY_PATH CPATH PKG_CONFIG_PATH MAKEFLAGS
    VIRTUAL_ENV CONDA_PREFIX XDG_DATA_HOME JAVA_HOME GOPATH GOROOT NODE_PATH NODE_OPTIONS CUDA_VISIBLE_DEVICES
    SSL_CERT_FILE SSL_CERT_DIR REQUESTS_CA_BUNDLE CURL_CA_BUNDLE NODE_EXTRA_CA_CERTS GIT_SSL_CAINFO
    http_proxy https_proxy no_proxy all_proxy HTTP_PROXY HTTPS_PROXY NO_PROXY ALL_PROXY
    """


_HARMLESS_BEGINNINGS = ("LC_", "PYTHON", "PIP_", "UV_", "OMP_", "OPENBLAS_", "MKL_", "NUMEXPR_", "MPL")


def _is_harmless(name: str, value: str) -> bool:
    """Whether a variable may enter a sandbox. A value such as https://user:password@host may not, whatever its name."""
    known = name in _HARMLESS.split() or name.startswith(_HARMLESS_BEGINNINGS)
    return known and not any(map(has_credentials, value.split())) and not any(word in name for word in SECRET_WORDS)


def pager(environ: Mapping[str, str] | None = None) -> tuple[list[str], dict[str, str]]:
    """Return the command of the user's pager, and its environment without credentials.

    less gets options that let colours through, unless the user has set LESS.

    Raises:
        ValueError: there is no such program, or the command cannot be parsed.
    """
    environ = environment(environ)
    name, *words = shlex.split(environ.get("PAGER") or "less") or [""]
    found = program(name, environ)
    if found is None:
        raise ValueError(f"there is no {name}")
    return [str(found), *words], {"LESS": "FRX", **_without_secrets(environ)}


def opener(environ: Mapping[str, str] | None = None) -> tuple[Path, dict[str, str]]:
    """Return the program that opens a file like a double click, and its environment without credentials.

    Raises:
        ValueError: there is no such program.
    """
    environ = environment(environ)
    names = ("open",) if sys.platform == "darwin" else ("xdg-open", "wslview")
    found = next(filter(None, (program(name, environ) for name in names)), None)
    if found is None:
        raise ValueError(f"there is no {names[0]}")
    return found, _without_secrets(environ)


def _without_secrets(environ: Mapping[str, str]) -> dict[str, str]:
    path = safe_path(environ.get("PATH", os.defpath), [Path.cwd()])
    kept = {name: value for name, value in environ.items() if not any(word in name for word in SECRET_WORDS)}
    redactor = redactor_of_environment(environ)
    return {name: value for name, value in kept.items() if not redactor.occurs_in(value)} | {"PATH": path}
