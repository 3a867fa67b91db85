"""Find the installed skills, the distributions `rlm-skill-<name>`, in one pass over the folders of `sys.path`."""

import json
import os
import re
import sys
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from importlib.machinery import PathFinder
from importlib.util import find_spec
from pathlib import Path
from urllib.parse import unquote, urlsplit

from .finding import Level
from .frontmatter import FrontMatter, FrontMatterError, read_front_matter
from .importing import try_imports
from .names import wrong_with_name
from .plain import read_plain, read_text
from .project import TARGET
from .source import check_code

_DIST_INFO = re.compile(r"rlm[-_.]+skill[-_.]+([A-Za-z0-9._]+?)-[^-]+\.dist-info")


@dataclass(frozen=True, slots=True)
class InstalledSkill:
    """An installed skill.

    Attributes:
        name: Its name: import, command and variable.
        version: Its version.
        origin: Its source: a folder, a URL, or "index".
        description: Its purpose, on one line; from SKILL.md, else from the distribution.
        skill_file: Its SKILL.md, or None if there is none.
        broken: Why it cannot work, or None.
        unread: Why its SKILL.md cannot be read, or None.
        package: The folder of its code, or None if there is none.
    """

    name: str
    version: str
    origin: str
    description: str
    skill_file: Path | None
    broken: str | None
    unread: str | None = None
    package: Path | None = field(default=None, compare=False)

    @property
    def state(self) -> str:
        """Either "ok" or "broken"."""
        return "broken" if self.broken else "ok"


def installed_names(path: Sequence[str] | None = None) -> tuple[str, ...]:
    """List the skills that can be imported, without reading their files.

    Args:
        path: The folders to search; by default `sys.path`.
    """
    return tuple(sorted(name for name in _found(path) if wrong_with_name(name) is None))


def installed_skills(path: Sequence[str] | None = None) -> tuple[InstalledSkill, ...]:
    """Describe the installed skills, by name. Reads files, imports nothing, and never fails because of one skill.

    Args:
        path: The folders to search; by default `sys.path`.
    """
    return tuple(_installed_skill(name, folder, path) for name, folder in sorted(_found(path).items()))


def try_import(name: str, seconds: float = 30) -> str | None:
    """Import a skill in its own process.

    Args:
        name: Its import name.
        seconds: How long it may take.

    Returns:
        None if it can be imported, else why not, in one line.
    """
    return try_imports([name], seconds).get(name)


def _found(path: Sequence[str] | None) -> dict[str, Path]:
    """Map each skill's name to its .dist-info folder. As with imports, the first folder of the path wins."""
    found: dict[str, Path] = {}
    for entry in sys.path if path is None else path:
        with suppress(OSError):
            for folder in sorted(Path(entry or ".").iterdir()):
                match = _DIST_INFO.fullmatch(folder.name)
                if match:
                    found.setdefault(re.sub(r"[-_.]+", "_", match[1]).lower(), folder)
    return found


def _installed_skill(name: str, folder: Path, path: Sequence[str] | None) -> InstalledSkill:
    # the one-line headers; importlib.metadata would import the email package for them
    pairs = [line.partition(":") for line in _read(folder / "METADATA").partition("\n\n")[0].splitlines()]
    headers = {key.strip().lower(): value.strip() for key, _, value in reversed(pairs)}
    package = _package(name, path)
    origin = _origin(_read(folder / "direct_url.json"))
    skill_file = _skill_file(package, origin)
    front, unread = _front_matter(skill_file)
    return InstalledSkill(
        name=name,
        version=headers.get("version", "?"),
        origin=origin,
        description=front.summary or headers.get("summary", ""),
        skill_file=skill_file,
        broken=next(_reasons(name, _read(folder / "entry_points.txt"), package), None),
        unread=unread,
        package=package,
    )


def _read(path: Path) -> str:
    try:
        return read_plain(path).decode(errors="replace")
    except OSError:
        return ""


def _package(name: str, path: Sequence[str] | None) -> Path | None:
    """Find the package's folder without importing it. A folder without __init__.py does not count."""
    with suppress(ValueError):  # raised for a module that was put into sys.modules by hand
        spec = find_spec(name) if path is None else PathFinder.find_spec(name, path)
        return Path(spec.origin).parent if spec and spec.origin else None
    return None


def _origin(direct_url: str) -> str:
    with suppress(ValueError, AttributeError):
        url = str(json.loads(direct_url).get("url", ""))
        if url.startswith("file:"):
            return unquote(urlsplit(url).path)
        return url or "index"
    return "index"


def _skill_file(package: Path | None, origin: str) -> Path | None:
    """Find SKILL.md: in the package (as in a wheel of the template), else in the folder it was installed from."""
    folders = [package] if package else []
    if Path(origin).is_absolute():
        folders.append(Path(origin))
    return next((folder / "SKILL.md" for folder in folders if os.path.lexists(folder / "SKILL.md")), None)


def _front_matter(path: Path | None) -> tuple[FrontMatter, str | None]:
    """Read the front matter; also return the reason if it cannot be read."""
    if path is None:
        return FrontMatter(), None
    try:
        return read_front_matter(read_text(path)), None
    except OSError as error:
        return FrontMatter(), error.strerror or str(error)
    except UnicodeDecodeError:
        return FrontMatter(), "it is not UTF-8"
    except FrontMatterError as error:
        return FrontMatter(), str(error)


def _reasons(name: str, entry_points: str, package: Path | None) -> Iterator[str]:
    wrong = wrong_with_name(name)
    if wrong:
        yield f"the name {name!r} {wrong}"
    if package is None:
        yield f"it contains no package {name!r}: build it from a folder with src/{name}/__init__.py"
        return
    if not re.search(rf"^{name}\s*=\s*\S", entry_points, re.M):
        yield f'it has no command: [project.scripts] {name} = "{TARGET}"'
    for finding in check_code(package, name):
        if finding.level is Level.BROKEN:
            yield str(finding)
