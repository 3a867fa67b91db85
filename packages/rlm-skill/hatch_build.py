"""Put skills-template/ into the wheel as rlm/skill/template.

It lies at the top of the checkout, and in an sdist beside this file: a fixed path in pyproject.toml would be right in
one of the two only.
"""

from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

NAME = "skills-template"


class TemplateHook(BuildHookInterface):  # type: ignore[type-arg] # hatchling is no dependency of ours
    """Hatchling's hook."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Add the template to what is built; an editable install finds it in the checkout."""
        here = Path(self.root)
        template = here / NAME if (here / NAME).is_dir() else here.parents[1] / NAME
        if version != "editable":
            build_data["force_include"][str(template)] = NAME if self.target_name == "sdist" else "rlm/skill/template"
