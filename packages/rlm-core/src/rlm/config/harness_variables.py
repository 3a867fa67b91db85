"""Variables of harnesses of the package `verifiers` (0.2, 0.3) whose settings have other names here."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

_MCP, _SKILLS = "RLM_MCP_CONFIG", "RLM_SKILLS"
NAMES = (_MCP, _SKILLS)
_OUR_MCP = "RLM_MCP"
_TOOLS = ("ipython", "bash", "edit")
"""Built-in skills of these harnesses that are tools here, by the same names."""
_USUAL = ("ipython", "summarize")


def with_harness_variables(environ: Mapping[str, str]) -> Mapping[str, str]:
    """Return the environment with rlm's own variables for these. A variable that is set by its own name wins."""
    more = {}
    if environ.get(_MCP) and not environ.get(_OUR_MCP, "").strip():
        more[_OUR_MCP] = environ[_MCP]
    if (tools := known_tools(_names(environ))) and "RLM_TOOLS" not in environ:
        more["RLM_TOOLS"] = ",".join(dict.fromkeys([*_USUAL, *tools]))
    return {**environ, **more} if more else environ


def known_tools(skills: Iterable[str]) -> list[str]:
    """Return the built-in skills that are tools here."""
    return [name for name in skills if name in _TOOLS]


def unknown_skills(environ: Mapping[str, str]) -> list[str]:
    """Return the built-in skills that are no tools here."""
    return [name for name in _names(environ) if name not in _TOOLS]


def as_written(name: str, environ: Mapping[str, str]) -> str:
    """Return the variable that the user has set, if `with_harness_variables` has derived this one from it."""
    return _MCP if name == _OUR_MCP and not environ.get(name, "").strip() else name


def _names(environ: Mapping[str, str]) -> list[str]:
    return [name for each in environ.get(_SKILLS, "").split(",") if (name := each.strip())]
