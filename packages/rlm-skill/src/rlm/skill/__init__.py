"""The parts of a skill: its command, its signature, its contract, and its use in a notebook.

A skill is an installed package `<name>` (distribution `rlm-skill-<name>`) with one `async def run(...)`. Importing this
module is cheap: each name is loaded from its own module at its first use.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .command import cli
    from .contract import Finding, Level, check_skill
    from .frontmatter import FrontMatter, FrontMatterError, read_front_matter
    from .importing import try_imports
    from .installed import InstalledSkill, installed_names, installed_skills, try_import
    from .modules import make_callable, preload
    from .names import RULE, wrong_with_name
    from .scaffolding import ScaffoldError, scaffold, template_folder
    from .signature import Parameter, Signature, read_signature

_HOMES = {
    "cli": "command",
    "Finding": "contract",
    "Level": "contract",
    "check_skill": "contract",
    "FrontMatter": "frontmatter",
    "FrontMatterError": "frontmatter",
    "read_front_matter": "frontmatter",
    "InstalledSkill": "installed",
    "installed_names": "installed",
    "installed_skills": "installed",
    "try_import": "installed",
    "try_imports": "importing",
    "make_callable": "modules",
    "preload": "modules",
    "RULE": "names",
    "wrong_with_name": "names",
    "ScaffoldError": "scaffolding",
    "scaffold": "scaffolding",
    "template_folder": "scaffolding",
    "Parameter": "signature",
    "Signature": "signature",
    "read_signature": "signature",
}

__all__ = [
    "RULE",
    "Finding",
    "FrontMatter",
    "FrontMatterError",
    "InstalledSkill",
    "Level",
    "Parameter",
    "ScaffoldError",
    "Signature",
    "check_skill",
    "cli",
    "installed_names",
    "installed_skills",
    "make_callable",
    "preload",
    "read_front_matter",
    "read_signature",
    "scaffold",
    "template_folder",
    "try_import",
    "try_imports",
    "wrong_with_name",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f".{_HOMES[name]}", __name__), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
