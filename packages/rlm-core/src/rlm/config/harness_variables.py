"""Variables by which harnesses of the package `verifiers` (0.2, 0.3) name what has other names here."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

_MCP, _SKILLS = "RLM_MCP_CONFIG", "RLM_SKILLS"
NAMES = (_MCP, _SKILLS)
_TOOLS = ("ipython", "bash", "edit")
"""Built-in skills there that are tools here, by the same names."""
_USUAL = ("ipython", "summarize")


def with_harness_variables(environ: Mapping[str, str]) -> Mapping[str, str]:
    """The environment with rlm's own variables for those; what is set by its own name wins."""
    more = {}
    if environ.get(_MCP):
        more["RLM_MCP"] = environ[_MCP]
    if tools := known_tools(_names(environ)):
        more["RLM_TOOLS"] = ",".join(dict.fromkeys([*_USUAL, *tools]))
    return {**more, **environ} if more else environ


def known_tools(skills: Iterable[str]) -> list[str]:
    """The built-in skills that are tools here."""
    return [name for name in skills if name in _TOOLS]


def has_unknown_skill(environ: Mapping[str, str]) -> bool:
    return any(name not in _TOOLS for name in _names(environ))


def _names(environ: Mapping[str, str]) -> list[str]:
    return [name for each in environ.get(_SKILLS, "").split(",") if (name := each.strip())]
