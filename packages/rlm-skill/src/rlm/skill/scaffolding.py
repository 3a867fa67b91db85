"""Create a new skill from the template."""

import json
import shutil
import tempfile
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from urllib.parse import unquote, urlsplit

from .names import RULE, suggest_name, wrong_with_name

PLACEHOLDER = "myskill"
"""The name of the template's own skill, in file names and contents."""

_FOR_UV = """
# For `uv run` in this folder alone: rlm-skill is on no package index; this is its place on this machine.
[tool.uv]
constraint-dependencies = ["rlm-skill @ {source}"]
"""

_LEFTOVERS = shutil.ignore_patterns("__pycache__", "*.pyc", ".*_cache", ".venv", "dist", "*.egg-info", "uv.lock")


class ScaffoldError(ValueError):
    """A new skill cannot be created; the message has the reason and what to do."""


def template_folder() -> Path:
    """Find the template: beside this file in an installed wheel, at the top of a checkout."""
    shipped = Path(__file__).with_name("template")
    return shipped if shipped.is_dir() else Path(__file__).resolve().parents[5] / "skills-template"


def source_of_ours() -> str:
    """The address of the source of the installed rlm-skill, if it is on this machine; otherwise empty."""
    with suppress(PackageNotFoundError, ValueError, AttributeError):
        url = str(json.loads(distribution("rlm-skill").read_text("direct_url.json") or "{}").get("url", ""))
        if url.startswith("file:") and Path(unquote(urlsplit(url).path)).exists():
            return url
    return ""


def scaffold(name: str, target_dir: Path, template_dir: Path | None = None) -> Path:
    """Create the folder of a new skill, which follows the contract and passes its own tests.

    Args:
        name: The skill's name.
        target_dir: The parent folder; the skill becomes `target_dir/name`.
        template_dir: The template; by default the one in this package.

    Returns:
        The skill's folder.

    Raises:
        ScaffoldError: If the name is refused, the folder exists already, or cannot be written.
    """
    wrong = wrong_with_name(name)
    if wrong:
        raise ScaffoldError(f"the name {name!r} {wrong}; {RULE}; for example {suggest_name(name)!r}")
    target = target_dir / name
    if target.exists() or target.is_symlink():
        raise ScaffoldError(f"{target} exists already; choose another name, or remove it first")
    try:
        _copy(template_dir or template_folder(), target, name)
    except OSError as error:
        raise ScaffoldError(f"{target} cannot be created: {error}") from error
    return target


def _copy(template: Path, target: Path, name: str) -> None:
    """Copy to a temporary folder first, so that the final name only appears when the copy is complete."""
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{name}-", dir=target.parent) as aside:  # noqa: TID251 - a private folder
        draft = Path(shutil.copytree(template, Path(aside) / name, ignore=_LEFTOVERS))  # noqa: TID251 - into a new folder
        for path in sorted(draft.rglob("*"), reverse=True):  # contents of a folder before the folder itself
            if path.is_file():
                text = path.read_text(encoding="utf-8")
                path.write_text(text.replace(PLACEHOLDER, name), encoding="utf-8")
            path.rename(path.with_name(path.name.replace(PLACEHOLDER, name)))
        if source := source_of_ours():
            with (draft / "pyproject.toml").open("a", encoding="utf-8") as project:
                project.write(_FOR_UV.format(source=source))
        draft.rename(target)
