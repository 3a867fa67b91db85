"""The command that checks skills: `python -m rlm.skill.check DIR...`.

Also runs by its path on a bare Python 3.11 (`python3 path/to/rlm/skill/check.py DIR...`), so that an installer can
use it before anything is installed.

Prints each skill's findings. Exit status 0: nothing to fix; 1: something to fix; 2: usage error. With `--lines`, prints
one line for each skill; fields are separated by tabs and contain no control characters:

    ok<TAB>name<TAB>absolute folder
    instructions<TAB>name<TAB>absolute folder        (a SKILL.md and no package)
    refused<TAB>absolute folder<TAB>reason

With `--lines`, findings that do not stop a skill from working go to stderr, and the exit status is 1 only if a skill is
refused.
"""

import argparse
import importlib.util
import sys
from pathlib import Path

if not __package__:
    # Run by its path. The folder becomes a package under its own name (PEP 366), so that another installed `rlm` is not
    # used by mistake.
    _here = Path(__file__).resolve().parent
    __package__ = "rlm_skill_uninstalled"
    _spec = importlib.util.spec_from_file_location(
        __package__, _here / "__init__.py", submodule_search_locations=[str(_here)]
    )
    assert _spec
    sys.modules[__package__] = importlib.util.module_from_spec(_spec)

from .contract import Finding, Level, check_skill, is_instructions, skill_name
from .names import printable


def main(arguments: list[str] | None = None) -> int:
    """Check the folders on the command line and return the exit status."""
    parser = argparse.ArgumentParser(prog="rlm.skill.check", description="Check skills without running them.")
    parser.add_argument("--lines", action="store_true", help="one line per skill: ok or refused, for programs")
    parser.add_argument("directories", nargs="+", metavar="DIR", help="the folder of one skill")
    options = parser.parse_args(arguments)
    folders = [Path(directory).absolute() for directory in options.directories]
    report = _report_line if options.lines else _report_findings
    return max([report(folder, check_skill(folder)) for folder in folders])


def _report_findings(folder: Path, findings: tuple[Finding, ...]) -> int:
    for finding in findings:
        print(finding)
    fix = [finding for finding in findings if finding.level is not Level.ADVICE]
    verdict = f"{len(fix)} to fix" if fix else "ok"
    print(f"{printable(skill_name(folder))}: {verdict}")
    return 1 if fix else 0


def _report_line(folder: Path, findings: tuple[Finding, ...]) -> int:
    refusing = [finding for finding in findings if finding.level is Level.BROKEN]
    for finding in findings:
        if finding not in refusing:
            print(finding, file=sys.stderr)
    if refusing:
        here = printable(str(folder))  # already printed at the start of the line
        reason = " | ".join(str(finding).removeprefix(f"{here}/").removeprefix(f"{here}: ") for finding in refusing)
        print("refused", here, reason, sep="\t")
        return 1
    if is_instructions(folder):
        print("instructions", folder.name, folder, sep="\t")
    else:
        print("ok", skill_name(folder), folder, sep="\t")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
