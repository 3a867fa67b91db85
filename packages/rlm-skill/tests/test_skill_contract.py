"""The contract, tested with a good skill that is damaged in one way at a time."""

import os
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from rlm.skill import Finding, Level, check_skill, installed_skills, scaffold
from rlm.skill.names import wrong_with_name

PACKAGES = Path(__file__).parents[2]


@pytest.fixture
def skill(tmp_path: Path) -> Path:
    folder = scaffold("wordy", tmp_path)
    change(folder / "SKILL.md", "description: Count", "description: Say how many words there are. Count")
    return folder


def change(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


def in_code(old: str, new: str) -> Callable[[Path], None]:
    return lambda skill: change(skill / "src/wordy/wordy.py", old, new)


def in_project(old: str, new: str) -> Callable[[Path], None]:
    return lambda skill: change(skill / "pyproject.toml", old, new)


def in_card(old: str, new: str) -> Callable[[Path], None]:
    return lambda skill: change(skill / "SKILL.md", old, new)


def write(path: str, content: bytes) -> Callable[[Path], object]:
    return lambda skill: (skill / path).write_bytes(content)


def lose(path: str) -> Callable[[Path], object]:
    return lambda skill: (skill / path).rename(skill / "lost")


HEAD = "async def run(texts: list[str], longest: bool = False) -> dict[str, int]:"
SCRIPT = 'wordy = "rlm.skill:cli"'
BUILD = """[tool.hatch.build.targets.wheel]
packages = ["src/wordy"]

[tool.hatch.build.targets.wheel.force-include]
"SKILL.md" = "wordy/SKILL.md"
"""

FOR_CHECKERS = """from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from words import Words
async def run(texts: {}, longest: bool = False) -> dict[str, int]:"""

BROKEN = {
    "no src": (lose("src"), "src/wordy", "an empty wheel would be built"),
    "no init": (lose("src/wordy/__init__.py"), "src/wordy/__init__.py", "there is no such file"),
    "init without run": (write("src/wordy/__init__.py", b"x = 1"), "src/wordy/__init__.py:1", "from .wordy import run"),
    "no run": (in_code("def run", "def walk"), "src/wordy/wordy.py:1", "there is no function `run`"),
    "sync run": (in_code("async def run", "def run"), "src/wordy/wordy.py:4", "`run` is not async"),
    "bad syntax": (in_code(HEAD, "async def run(:"), "src/wordy/wordy.py:4", "this is not valid Python"),
    "null bytes": (write("src/wordy/wordy.py", b"\0"), "src/wordy/wordy.py", "this cannot be read|not valid Python"),
    "not UTF-8": (write("src/wordy/__init__.py", b"x = '\xff'"), "src/wordy/__init__.py:1", "Python: .unicode error"),
    "too deep": (write("src/wordy/wordy.py", b"(" * 100_000), "src/wordy/wordy.py:1", "valid Python"),
    "help": (in_code("longest: bool", "help: bool"), "src/wordy/wordy.py:4", "a parameter called `help`"),
    "generator": (in_code("    return counts", "    yield counts"), "src/wordy/wordy.py:4", "is an async generator"),
    "type only for checkers": (
        in_code(HEAD, FOR_CHECKERS.format("Words")),
        "src/wordy/wordy.py:8",
        "Words is imported only under",
    ),
    "the same in quotes": (
        in_code(HEAD, FOR_CHECKERS.format("'list[w.Words] | None'")),
        "src/wordy/wordy.py:8",
        "Words is imported only under",
    ),
    "no project file": (lose("pyproject.toml"), "pyproject.toml", "there is no pyproject.toml"),
    "bad TOML": (in_project("[project]", "[project"), "pyproject.toml:1", "not valid TOML"),
    "binary TOML": (write("pyproject.toml", b"\xff\xfe"), "pyproject.toml", "not valid TOML"),
    "no project table": (write("pyproject.toml", b"[other]"), "pyproject.toml", r"no table \[project\]"),
    "other distribution": (in_project("rlm-skill-wordy", "wordy"), "pyproject.toml:2", "the distribution is 'wordy'"),
    "injected name": (
        in_project("rlm-skill-wordy", "rlm-skill-wordy --index-url http://x"),
        "pyproject.toml:2",
        "--index",
    ),
    "no name": (in_project('name = "rlm-skill-wordy"\n', ""), "pyproject.toml:1", "has no name"),
    "no version": (in_project('version = "0.1.0"\n', ""), "pyproject.toml:1", "there is no version"),
    "no script": (in_project(SCRIPT, ""), "pyproject.toml:8", "there is no command 'wordy'"),
    "script rlm": (
        in_project(SCRIPT, SCRIPT + '\nrlm = "x:y"'),
        "pyproject.toml:10",
        "the command 'rlm' does not belong to the skill",
    ),
    "gui script": (
        in_project(SCRIPT, SCRIPT + '\n[project.gui-scripts]\nuv = "x:y"'),
        "pyproject.toml:11",
        "the command 'uv'",
    ),
    "dynamic scripts": (
        in_project("version", 'dynamic = ["scripts"]\nversion'),
        "pyproject.toml:3",
        "cannot be checked",
    ),
    "own source of rlm-skill": (
        in_project('"rlm-skill"]', '"rlm-skill @ https://x/y.whl"]'),
        "pyproject.toml:6",
        "takes rlm-skill from its own source",
    ),
    "hatchling without a list of packages": (in_project(BUILD, ""), "pyproject.toml:11", "hatchling does not know"),
    "hatchling with a wrong package": (
        in_project("src/wordy", "src/other"),
        "pyproject.toml:15",
        "would not contain src/wordy",
    ),
    "uv_build without a module name": (
        in_project("hatchling.build", "uv_build"),
        "pyproject.toml:11",
        'module-name = "wordy"',
    ),
}

INCOMPLETE = {
    "no docstring": (in_code('"""Count the', 'b"""Count the'), "src/wordy/wordy.py:4", "`run` has no docstring"),
    "argument unexplained": (
        in_code("        longest: Whether", "        Whether"),
        "src/wordy/wordy.py:4",
        "explain 'longest'",
    ),
    "parameter without a type": (in_code("texts: list[str]", "texts"), "src/wordy/wordy.py:4", "'texts' has no type"),
    "no return type": (in_code(" -> dict[str, int]:", ":"), "src/wordy/wordy.py:4", "does not say what it returns"),
    "run in init": (
        lambda skill: (skill / "src/wordy/wordy.py").replace(skill / "src/wordy/__init__.py"),
        "src/wordy/wordy.py",
        "there is no such file",
    ),
    "run imported from elsewhere": (
        write("src/wordy/wordy.py", b"from .deep import run"),
        "src/wordy/wordy.py:1",
        "defined elsewhere",
    ),
    "no card": (lose("SKILL.md"), "SKILL.md", "there is no SKILL.md"),
    "no front matter": (write("SKILL.md", b"# wordy"), "SKILL.md:1", "does not begin with a line `---`"),
    "card not UTF-8": (write("SKILL.md", b"---\n\xff"), "SKILL.md:1", "utf-8"),
    "other name in the card": (in_card("name: wordy", "name: other"), "SKILL.md:2", "the name is 'other'"),
    "no name in the card": (in_card("name: wordy\n", ""), "SKILL.md:2", "has no name"),
    "no description": (in_card("description: ", "words: "), "SKILL.md:2", "has no description"),
    "no dependency": (in_project('["rlm-skill"]', "[]"), "pyproject.toml:6", "does not depend on rlm-skill"),
    "function": (in_code("texts: list[str]", "texts: Callable[[], str]"), "src/wordy/wordy.py:4", "on a command line"),
}
INCOMPLETE["argument gone"] = (
    in_code("longest: bool = False", "longer: bool = False"),
    "src/wordy/wordy.py:4",
    "explains 'longest', which is not a parameter",
)

ADVICE = {
    "card excluded": (
        in_project('"SKILL.md" = "wordy/SKILL.md"', ""),
        "pyproject.toml:15",
        "does not contain SKILL.md",
    ),
    "long description": (in_card("description: ", "description: " + "x" * 1024), "SKILL.md:2", "characters"),
    "template's description": (
        in_card("Say how many words there are. ", ""),
        "SKILL.md:3",
        "still that of the template",
    ),
    "star args": (
        in_code("longest: bool = False", "longest: bool = False, *texts2: str"),
        "src/wordy/wordy.py:4",
        r"\*texts2",
    ),
    "star kwargs": (
        in_code("longest: bool = False", "longest: bool = False, **_: str"),
        "src/wordy/wordy.py:4",
        r"\*\*_",
    ),
    "other target": (in_project(SCRIPT, 'wordy = "wordy:main"'), "pyproject.toml:9", "runs 'wordy:main'"),
    "other dependency": (in_project('["rlm-skill"]', '["rlm"]'), "pyproject.toml:6", "does not depend on rlm-skill"),
}

CASES = [
    pytest.param(level, *case, id=name)
    for level, cases in ((Level.BROKEN, BROKEN), (Level.INCOMPLETE, INCOMPLETE), (Level.ADVICE, ADVICE))
    for name, case in cases.items()
]


def test_types_that_are_imported_either_way_are_read(skill: Path) -> None:
    code = (
        "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from a import Words\nelse:\n    Words = str\n" + HEAD
    )
    in_code(HEAD, code.replace("list[str]", "Words"))(skill)
    assert check_skill(skill) == ()


def test_a_new_skill_and_the_fixture_keep_the_contract(skill: Path) -> None:
    assert check_skill(skill) == ()
    assert check_skill(PACKAGES / "rlm-skill-say") == ()


@pytest.mark.parametrize(("level", "spoil", "where", "pattern"), CASES)
def test_a_finding_says_what_is_wrong_where_and_what_to_write(
    skill: Path, level: Level, spoil: Callable[[Path], object], where: str, pattern: str
) -> None:
    spoil(skill)
    findings = check_skill(skill)
    about = [f for f in findings if re.search(pattern, f"{f.wrong}; {f.write}")]
    assert [(f.level, f.where) for f in about] == [(level, f"{skill / where}")]
    assert about[0].write
    assert findings[0].level is level


def test_findings_come_worst_first(skill: Path) -> None:
    in_project('"SKILL.md" = "wordy/SKILL.md"', "")(skill)
    in_card("description", "words")(skill)
    in_code("async def", "def")(skill)
    assert [finding.level for finding in check_skill(skill)] == [Level.BROKEN, Level.INCOMPLETE, Level.ADVICE]


def test_nothing_of_a_skill_is_run(skill: Path, tmp_path: Path) -> None:
    marker = f"__import__('pathlib').Path({str(tmp_path / 'ran')!r}).touch()\n"
    for path in ("src/wordy/__init__.py", "src/wordy/wordy.py", "setup.py"):
        source = skill / path
        source.write_text(marker + (source.read_text() if source.exists() else ""))
    assert check_skill(skill) == ()
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("backend", ["setuptools.build_meta", "flit_core.buildapi"])
def test_other_build_backends_are_let_through(skill: Path, backend: str) -> None:
    in_project("hatchling.build", backend)(skill)
    assert check_skill(skill) == ()


def test_the_folder_may_bear_the_distributions_name(skill: Path) -> None:
    assert check_skill(skill.rename(skill.with_name("rlm-skill-wordy"))) == ()


def test_a_link_is_checked_by_its_own_name(skill: Path, tmp_path: Path) -> None:
    (tmp_path / "other").symlink_to(skill)
    assert {f.level for f in check_skill(tmp_path / "other")} >= {Level.BROKEN}
    (tmp_path / "links").mkdir()
    (tmp_path / "links" / "wordy").symlink_to(skill)
    assert check_skill(tmp_path / "links" / "wordy") == ()


def test_a_skill_can_be_checked_from_its_own_folder(skill: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(skill)
    assert check_skill(".") == ()


def test_an_underscore_works_but_is_advised_against(tmp_path: Path) -> None:
    finding = check_skill(scaffold("web_search", tmp_path))[0]
    assert finding.level is Level.ADVICE
    assert "agentskills.io allows no underscore" in finding.wrong
    assert "'websearch'" in finding.write


def test_no_folder_is_a_finding(tmp_path: Path) -> None:
    (finding,) = check_skill(tmp_path / "nowhere")
    assert (finding.level, finding.wrong) == (Level.BROKEN, "there is no such folder")


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("class", "keyword"),
        ("match", "keyword"),
        ("json", "standard library"),
        ("print", "builtin"),
        ("rlm", "rlm needs"),
        ("rlm_skill", "rlm needs"),
        ("context", "rlm needs"),
        ("uv", "rlm needs"),
        ("git", "the shell needs"),
        ("cd", "the shell itself"),
        ("Search", "the rule"),
        ("web-search", "the rule"),
        ("2fast", "the rule"),
        ("web__search", "the rule"),
        ("search_", "the rule"),
        ("a/b", "the rule"),
        ("..", "the rule"),
        ("", "the rule"),
        ("söken", "the rule"),
        ("search\n", "the rule"),
        ("a" * 65, "the rule"),
    ],
)
def test_bad_names_are_refused_with_the_reason(name: str, why: str) -> None:
    assert why in (wrong_with_name(name) or "")


@pytest.mark.parametrize("name", ["say", "websearch", "web_search", "h2o", "a" * 64])
def test_good_names_are_let_through(name: str) -> None:
    assert wrong_with_name(name) is None


def test_a_folder_with_a_bad_name_gets_that_one_finding_with_a_better_name(skill: Path) -> None:
    (finding,) = check_skill(skill.rename(skill.with_name("Web-Search 2")))
    assert "'Web-Search 2'" in finding.wrong
    assert "'websearch2'" in finding.write


def test_source_files_may_have_any_encoding_that_python_reads(skill: Path) -> None:
    for code in ("\ufeff{}".encode(), "# -*- coding: latin-1 -*-\r\n# Grüße\r\n{}".encode("latin-1")):
        source = (skill / "src/wordy/wordy.py").read_text().removeprefix("\ufeff").replace("\n", "\r\n")
        head, _, brace = code.partition(b"{}")
        (skill / "src/wordy/wordy.py").write_bytes(head + source.encode() + brace)
        assert check_skill(skill) == ()
        (skill / "src/wordy/wordy.py").write_text(source.replace("\r\n", "\n"))
    card = (skill / "SKILL.md").read_text()
    (skill / "SKILL.md").write_bytes(b"\xef\xbb\xbf" + card.replace(": ", ":\t").replace("\n", "\r\n").encode())
    assert check_skill(skill) == ()


def test_a_package_may_lie_beside_its_project_file(skill: Path) -> None:
    (skill / "src/wordy").rename(skill / "wordy")
    assert ["the wheel would not contain wordy"] == [finding.wrong for finding in check_skill(skill)]
    in_project('"src/wordy"', '"wordy"')(skill)
    assert check_skill(skill) == ()


def test_a_name_that_a_program_of_the_system_has_is_advised_against(tmp_path: Path) -> None:
    finding = check_skill(scaffold("who", tmp_path))[0]
    assert finding.level is Level.ADVICE
    assert "comes first in a shell" in finding.wrong


def test_a_finding_cannot_steer_a_terminal(skill: Path) -> None:
    in_project(SCRIPT, SCRIPT + '\n"\\u001b[31mred\\n" = "x:y"')(skill)
    (finding,) = check_skill(skill)
    assert "\\x1b[31mred" in str(finding)
    assert str(finding).isprintable()


def test_a_finding_reads_as_place_level_wrong_and_remedy(tmp_path: Path) -> None:
    finding = Finding(Level.ADVICE, tmp_path, "this is odd", "something else", line=3)
    assert str(finding) == f"{tmp_path}:3: advice: this is odd; write something else"


# ---- folders with a SKILL.md alone


def levels(folder: Path) -> list[str]:
    return [finding.level.value for finding in check_skill(folder)]


def test_a_folder_with_a_skill_file_and_no_package_is_instructions(tmp_path: Path) -> None:
    folder, file = tmp_path / "release-notes", tmp_path / "release-notes" / "SKILL.md"
    folder.mkdir()
    file.write_bytes(b"\xef\xbb\xbf---\r\nname:\trelease-notes\r\ndescription: How.\r\n---\r\nWrite them.\r\n")
    assert levels(folder) == []
    file.write_text("---\nname: other\n---\n")
    assert levels(folder) == ["incomplete", "incomplete"]
    for spoilt in (b"Text.", b"---\n\xff\n---\n"):
        file.write_bytes(spoilt)
        assert levels(folder) == ["broken"]
    file.unlink()
    (outside := tmp_path / "outside").write_text("---\nname: release-notes\ndescription: How.\n---\n")
    for target in ("nowhere", "/etc/passwd", outside):
        file.symlink_to(target)
        assert levels(folder) == ["broken"]
        file.unlink()
    file.write_text("---\nname: release-notes\ndescription: How.\n---\n")
    (folder / "pyproject.toml").touch()
    assert "broken" in levels(folder), "a folder with a pyproject.toml is not instructions only"


PARTS = ("SKILL.md", "pyproject.toml", "src", "src/wordy", "src/wordy/__init__.py", "src/wordy/wordy.py")


@pytest.mark.parametrize("part", PARTS)
def test_a_link_or_pipe_in_place_of_a_file_is_not_followed_and_does_not_block(skill: Path, part: str) -> None:
    secret = skill.parent / "secret"
    secret.mkdir()
    (skill / part).rename(secret / "moved")
    for target in (secret / "moved", "/dev/zero"):
        (skill / part).symlink_to(target)
        assert [f"{skill / part}: broken: this is a symbolic link, which is not followed here"] == [
            str(finding).partition(";")[0] for finding in check_skill(skill)
        ]
        (skill / part).unlink()
    os.mkfifo(skill / part)
    assert {skill / part} & {finding.path for finding in check_skill(skill) if finding.level is not Level.ADVICE} or (
        part == "src"  # the missing package is reported instead
    )


def test_a_pipe_in_place_of_the_file_of_an_installed_skill_does_not_block(tmp_path: Path) -> None:
    about = tmp_path / "rlm_skill_wordy-1.dist-info"
    about.mkdir()
    for name in ("METADATA", "direct_url.json", "entry_points.txt"):
        os.mkfifo(about / name)
    (tmp_path / "wordy").mkdir()
    for name in ("__init__.py", "SKILL.md"):
        os.mkfifo(tmp_path / "wordy" / name)
    (found,) = installed_skills([str(tmp_path)])
    assert ("wordy", "?") == (found.name, found.version)
    assert found.broken
