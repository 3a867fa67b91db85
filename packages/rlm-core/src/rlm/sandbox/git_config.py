"""Read git configuration files. Only settings that are known to be harmless are accepted; all others are risks.

git has hundreds of settings. Many of them run programs or make git use other files, and each version of git adds some.
So the table below lists the harmless settings, from git-config(1). The same is true for the syntax: `git init`,
`git clone` and `git config` write simple lines, and any other line is a risk. So differences between this reader and
git's own do not matter.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass

_SECTION = re.compile(r'[ \t]*\[([A-Za-z0-9.-]+)(?:[ \t]+"([^"\\\x00-\x1f]*)")?\][ \t]*')
_LINE = re.compile(
    r"[ \t]*([A-Za-z][A-Za-z0-9-]*)[ \t]*"
    r'(?:=[ \t]*(?:"([^"\\\x00-\x1f]*)"|([^"\\;#\x00-\x08\x0a-\x1f]*)))?[ \t]*'
)
_BLANK = re.compile(r"[ \t]*(?:[#;].*)?")

# git-config(1), "CONFIGURATION FILE": names of sections and settings are not case sensitive.
_WHOLE_SECTIONS = (
    *("advice", "color", "column", "status", "index", "rerere", "apply", "fsck", "i18n", "versionsort", "showbranch"),
    *("splitindex", "commitgraph", "stash", "reftable", "user", "author", "committer"),
)
_SETTINGS = {
    "core": "abbrev autocrlf bare bigfilethreshold checkstat commentchar commitgraph compression createobject eol"
    " filemode fscache fsync fsyncmethod fsyncobjectfiles hidedotfiles ignorecase logallrefupdates longpaths"
    " loosecompression multipackindex precomposeunicode preloadindex quotepath repositoryformatversion safecrlf"
    " sparsecheckout sparsecheckoutcone splitindex symlinks trustctime untrackedcache whitespace worktree",
    "branch": "autosetupmerge autosetuprebase sort *.remote *.pushremote *.merge *.rebase *.description",
    "remote": "pushdefault *.url *.pushurl *.fetch *.push *.tagopt *.prune *.prunetags *.mirror *.promisor"
    " *.partialclonefilter *.skipdefaultupdate *.skipfetchall *.followremotehead",
    "submodule": "active recurse fetchjobs propagatebranches *.url *.active *.branch *.ignore *.update"
    " *.fetchrecursesubmodules",
    "extensions": "compatobjectformat noop objectformat partialclone preciousobjects refstorage relativeworktrees"
    " worktreeconfig",
    "diff": "algorithm colormoved colormovedws context dirstat ignoresubmodules indentheuristic interhunkcontext"
    " mnemonicprefix noprefix relative renamelimit renames submodule wordregex wserrorhighlight *.binary"
    " *.xfuncname *.wordregex",
    "merge": "autostash conflictstyle directoryrenames ff log renamelimit renames renormalize stat verbosity *.name",
    "pull": "autostash ff rebase",
    "push": "autosetupremote default followtags recursesubmodules",
    "fetch": "all output parallel prune prunetags recursesubmodules writecommitgraph",
    "rebase": "abbreviatecommands autosquash autostash backend missingcommitscheck stat updaterefs",
    "log": "abbrevcommit date decorate follow showroot",
    "gc": "auto autodetach autopacklimit pruneexpire reflogexpire reflogexpireunreachable worktreepruneexpire",
    "maintenance": "auto autodetach strategy",
    "commit": "gpgsign status verbose cleanup",
    "tag": "gpgsign sort",
    "init": "defaultbranch",
    "lfs": "repositoryformatversion",
    "add": "ignoreerrors",
}

# `transport::address` runs the program git-remote-transport, and `ext::` any program. See gitremote-helpers(7).
_ADDRESS = re.compile(r"(?!-)(?!.*::).*")
_VALUES = {
    "branch.*.remote": _ADDRESS,
    "branch.*.pushremote": _ADDRESS,
    "remote.pushdefault": _ADDRESS,
    "remote.*.url": _ADDRESS,
    "remote.*.pushurl": _ADDRESS,
    "submodule.*.url": _ADDRESS,
    "submodule.*.update": re.compile("checkout|merge|rebase|none"),  # `!command` runs it
    "extensions.refstorage": re.compile("files|reftable"),
}


@dataclass(frozen=True, slots=True)
class GitSetting:
    """A setting. `name` is in git's notation, such as `core.bare` or `branch.main.merge`; empty for unknown syntax."""

    name: str
    value: str

    def __str__(self) -> str:
        return f"{self.name}={self.value}" if self.name else f"the line {self.value!r}"


def read_settings(data: bytes) -> Iterator[GitSetting]:
    """Yield the settings in a file, in their order."""
    section = ""
    for raw in data.decode(errors="surrogateescape").split("\n"):
        line = raw.removesuffix("\r")
        if found := _SECTION.fullmatch(line):
            section = f"{found[1].lower()}." + ("" if found[2] is None else f"{found[2]}.")
        elif section and (found := _LINE.fullmatch(line)):
            name, quoted, bare = found.groups()
            yield GitSetting(
                f"{section}{name.lower()}", bare.strip() if quoted is None and bare is not None else quoted or ""
            )
        elif not _BLANK.fullmatch(line):
            yield GitSetting("", line)


def risks(data: bytes, is_inside: Callable[[str], bool]) -> Iterator[GitSetting]:
    """Yield settings that may run a program or make git use other files. `is_inside` checks a core.worktree."""
    for setting in read_settings(data):
        if not _is_harmless(setting) or (setting.name == "core.worktree" and not is_inside(setting.value)):
            yield setting


def _is_harmless(setting: GitSetting) -> bool:
    section, _, rest = setting.name.partition(".")
    _, found, last = rest.rpartition(".")
    name = f"*.{last}" if found else last
    if section in _WHOLE_SECTIONS:
        return True
    allowed = _VALUES.get(f"{section}.{name}")
    return name in _SETTINGS.get(section, "").split() and (allowed is None or bool(allowed.fullmatch(setting.value)))
