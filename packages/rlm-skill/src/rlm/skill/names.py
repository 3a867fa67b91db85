"""The names that a skill may have.

One word is the folder, import, command, part of the distribution's name, and variable of the notebook. So it must be
valid for all of them, and must not hide an existing name.
"""

import builtins
import keyword
import re
import sys
import unicodedata

RULE = (
    "a skill's name is a lower-case letter, then lower-case letters and digits ([a-z][a-z0-9]*, at most 64), "
    "but not a Python keyword, builtin or standard-library module, or a name that rlm or the shell needs"
)
PREFIX = "rlm-skill-"

# Single underscores are allowed: they work in imports and commands, although agentskills.io excludes them.
_SHAPE = re.compile(r"[a-z][a-z0-9]*(_[a-z0-9]+)*")
_LONGEST = 64

# Variables of the notebook, and packages that rlm and this library depend on: a skill would hide them.
# fmt: off
_OURS = {
    "rlm", "rlm_core", "rlm_skill", "context", "display", "get_ipython", "cloudpickle", "ipykernel",
    "ipython", "jupyter", "jupyter_client", "jupyter_core", "openai", "pip", "pydantic", "pydantic_core",
    "pytest", "rich", "setuptools", "test", "tests", "tornado", "traitlets", "typing_extensions", "tyro",
    "uv", "wheel", "zmq",
}

# Programs: a skill is also a command, which would hide one of these, or be hidden by it.
_PROGRAMS = {
    "awk", "bash", "cat", "chmod", "cp", "curl", "cut", "date", "docker", "du", "echo", "env", "find",
    "gcc", "git", "grep", "head", "kill", "ln", "ls", "make", "mkdir", "mv", "node", "npm", "npx",
    "patch", "perl", "ps", "python", "python3", "rg", "rm", "ruby", "sed", "sh", "sleep", "sort", "ssh",
    "sudo", "tail", "tar", "tee", "touch", "tr", "uname", "uvx", "wc", "wget", "which", "xargs",
}

# Builtins and keywords of shells: a shell would run its own, or fail to parse the line.
_OF_SHELLS = {
    "alias", "bg", "bind", "builtin", "caller", "case", "cd", "command", "compgen", "complete", "coproc", "declare",
    "dirs", "disown", "do", "done", "enable", "esac", "export", "false", "fc", "fg", "fi", "function", "getopts",
    "hash", "history", "jobs", "let", "local", "logout", "mapfile", "popd", "printf", "pushd", "pwd", "read",
    "readarray", "readonly", "select", "set", "shift", "shopt", "source", "suspend", "then", "time", "times", "trap",
    "true", "type", "typeset", "ulimit", "umask", "unalias", "unset", "until", "wait",
}
# fmt: on


def wrong_with_name(name: str) -> str | None:
    """Return the reason why this name is not allowed, or None.

    Args:
        name: The name alone, without `rlm-skill-`.

    Returns:
        A clause for a message, such as "is a Python keyword".
    """
    well_formed = len(name) <= _LONGEST and _SHAPE.fullmatch(name) is not None
    wrongs = {
        "does not follow the rule [a-z][a-z0-9]* (at most 64 characters)": not well_formed,
        "is a Python keyword": keyword.iskeyword(name) or keyword.issoftkeyword(name),
        "is a module of Python's standard library": name in sys.stdlib_module_names,
        "is a Python builtin": hasattr(builtins, name),
        "is a name that rlm needs itself": name in _OURS,
        "is a program that the shell needs": name in _PROGRAMS,
        "is a command of the shell itself": name in _OF_SHELLS,
    }
    return next((wrong for wrong, holds in wrongs.items() if holds), None)


def suggest_name(name: str) -> str:
    """Suggest the nearest valid name, for a message. "Web-Search 2" gives "websearch2"."""
    bare = re.sub(r"[^a-z0-9]", "", name.lower()).lstrip("0123456789")[:_LONGEST]
    if not bare:
        return "myskill"
    return bare if wrong_with_name(bare) is None else f"my{bare[: _LONGEST - 2]}"


def normalised(distribution: str) -> str:
    """Normalise a distribution's name by PyPA's rule: lower case, runs of -_. as one hyphen."""
    return re.sub(r"[-_.]+", "-", distribution).lower()


def printable(text: str) -> str:
    """Escape all characters that could control a terminal or break a line of output."""
    harmful = {"Cc", "Cf", "Cn", "Co", "Cs", "Zl", "Zp"}
    return "".join(
        c.encode("unicode_escape", "surrogatepass").decode() if unicodedata.category(c) in harmful else c for c in text
    )
