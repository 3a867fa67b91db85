"""Installed skills, and rlm-skill without rlm-core, in an environment of wheels that uv creates.

All of these tests are in one file, because each test file would create its own environment, which takes half a minute.
"""

import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from rlm.skill import InstalledSkill, ScaffoldError, installed_names, installed_skills, scaffold, try_import
from rlm.skill.scaffolding import template_folder
from rlm_testkit.found_uv import UV

PACKAGES = Path(__file__).parents[2]
# The lowest versions that pyproject.toml allows, if they exist as wheels.
OLDEST = ["tyro==1.0.0", "pydantic==2.8.0; python_version < '3.13'"]


@dataclass(frozen=True)
class Installation:
    """A virtual environment, and the skill `wordy`, which was scaffolded and installed there."""

    bin: Path
    wordy: Path

    def run(self, command: str, *words: str, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
        clean = {name: value for name, value in os.environ.items() if name not in {"PYTHONPATH", "VIRTUAL_ENV"}}
        return subprocess.run(
            [self.bin / command, *words], check=False, capture_output=True, text=True, timeout=60, cwd=cwd, env=clean
        )

    def ask(self, expression: str) -> Any:
        """Evaluate an expression about rlm.skill in the environment."""
        program = f"import json, rlm.skill as skill, dataclasses; print(json.dumps({expression}, default=str))"
        done = self.run("python", "-c", program)
        assert done.stderr == ""
        return json.loads(done.stdout)


def uv(*words: str | Path) -> None:
    subprocess.run([UV, "--quiet", *words], check=True, timeout=110)


@pytest.fixture(scope="module")
def installation(tmp_path_factory: pytest.TempPathFactory) -> Installation:
    folder = tmp_path_factory.mktemp("place")
    wordy = scaffold("wordy", folder / "skills")
    for source in (PACKAGES / "rlm-skill", PACKAGES / "rlm-skill-say", wordy):
        uv("build", "--wheel", source, "--out-dir", folder / "wheels")
    uv("venv", "--python", sys.executable, folder / "venv")
    python = folder / "venv" / "bin" / "python"
    uv("pip", "install", "--python", python, "pytest", *OLDEST, *(folder / "wheels").glob("*.whl"))
    return Installation(python.parent, wordy)


def test_rlm_skill_alone_is_enough_for_a_command(installation: Installation) -> None:
    done = installation.run("wordy", "--texts", "one two", "three")
    assert (done.returncode, done.stdout, done.stderr) == (0, '{"one two":2,"three":1}\n', "")
    done = installation.run("say", "--text", "hi", "--lines", '[{"text": "x"}]', "--names", "Ada", "Bob")
    assert (done.returncode, done.stdout, done.stderr) == (0, "Hello Ada!\nHello Bob!\nhi\nx\n", "")
    assert installation.run("python", "-c", "import rlm.core.agent").returncode == 1


def test_help_is_plain_ascii_with_the_oldest_tyro(installation: Installation) -> None:
    done = installation.run("wordy", "--help")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.isascii()
    assert "The texts to count the words of." in done.stdout


def test_a_new_skill_passes_its_own_tests_at_once(installation: Installation) -> None:
    done = installation.run("python", "-m", "pytest", "-q", "-W", "error", cwd=installation.wordy)
    assert done.returncode == 0, done.stdout
    assert "4 passed" in done.stdout


def test_the_wheel_holds_the_template(installation: Installation, tmp_path: Path) -> None:
    answer = installation.ask(f"skill.scaffold('another', __import__('pathlib').Path({str(tmp_path)!r}))")
    assert answer == str(tmp_path / "another")
    here = sorted(path.relative_to(tmp_path / "another") for path in (tmp_path / "another").rglob("*"))
    there = sorted(path.relative_to(scaffolded) for scaffolded in [scaffold("another", tmp_path / "b")]
                   for path in scaffolded.rglob("*"))  # fmt: skip
    assert here == there


def test_installed_skills_are_described_without_importing_them(installation: Installation) -> None:
    described = installation.ask(
        "[dataclasses.asdict(s) for s in skill.installed_skills()] + [('say' in __import__('sys').modules)]"
    )
    say, wordy, imported = described
    assert not imported
    assert (say["name"], say["version"], say["broken"]) == ("say", "0.1.0", None)
    assert say["description"] == "Say a text, to everybody named. Use it to see whether skills work."
    assert say["origin"].endswith("rlm_skill_say-0.1.0-py3-none-any.whl")
    assert say["skill_file"].endswith("site-packages/say/SKILL.md")
    assert (wordy["name"], wordy["broken"]) == ("wordy", None)


def test_an_editable_skill_is_described_by_the_file_in_its_source() -> None:
    (say,) = [skill for skill in installed_skills() if skill.name == "say"]
    assert say.origin == str(PACKAGES / "rlm-skill-say")
    assert say.skill_file == PACKAGES / "rlm-skill-say" / "SKILL.md"
    assert say.state == "ok"
    assert "say" in installed_names()
    assert "rlm" not in installed_names()


@pytest.fixture
def site(tmp_path: Path) -> Path:
    return tmp_path


def install(
    site: Path, name: str, code: str | None = "async def run(): ...", script: str | None = None, **files: str
) -> None:
    """Create an installed distribution, as an installer would."""
    info = site / f"rlm_skill_{name}-1.2.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(
        f"Metadata-Version: 2.1\nName: rlm-skill-{name}\nVersion: 1.2\nSummary: Does {name}\n\nBody"
    )
    script = f"{name} = rlm.skill:cli" if script is None else script
    (info / "entry_points.txt").write_text(f"[console_scripts]\n{script}\n")
    for file, text in files.items():
        (info / file.replace("_json", ".json")).write_text(text)
    if code is not None:
        (site / name).mkdir()
        (site / name / "__init__.py").write_text(f"from .{name} import run")
        (site / name / f"{name}.py").write_text(code)


def only(site: Path) -> InstalledSkill:
    (skill,) = installed_skills([str(site)])
    return skill


def test_the_distributions_summary_replaces_a_missing_card(site: Path) -> None:
    install(site, "plain")
    assert only(site) == InstalledSkill("plain", "1.2", "index", "Does plain", None, None)


def test_a_damaged_distribution_is_still_listed(site: Path) -> None:
    info = site / "rlm_skill_ruin-1.dist-info"
    info.mkdir()
    (info / "METADATA").write_bytes(b"\xff\xfe")
    assert only(site).state == "broken"


@pytest.mark.parametrize(
    ("url", "origin"),
    [
        ('{"url": "https://host/x.git", "vcs_info": {}}', "https://host/x.git"),
        ('{"url": "file:///my%20skills/plain", "dir_info": {}}', "/my skills/plain"),
        ("not json", "index"),
        ("[]", "index"),
        ("{}", "index"),
    ],
)
def test_the_origin_is_read_from_the_installers_record(site: Path, url: str, origin: str) -> None:
    install(site, "plain", direct_url_json=url)
    assert only(site).origin == origin


def test_a_card_is_found_in_the_folder_it_was_installed_from(site: Path, tmp_path: Path) -> None:
    source = scaffold("plain", tmp_path / "source")
    install(site, "plain", direct_url_json=json.dumps({"url": source.as_uri(), "dir_info": {}}))
    assert only(site).skill_file == source / "SKILL.md"
    assert only(site).description.startswith("Count the words")


def test_a_command_of_the_skills_own_is_accepted(site: Path) -> None:
    install(site, "plain", "async def run(): ...", "plain = plain.plain:main")
    assert only(site).state == "ok"


@pytest.mark.parametrize(
    ("name", "code", "script", "reason"),
    [
        ("plain", None, None, "it contains no package 'plain'"),
        ("plain", "x = 1", None, "there is no function `run`"),
        ("plain", "async def run(:", None, "this is not valid Python"),
        ("plain", "async def run(): ...", "", "it has no command"),
        ("plain", "async def run(): ...", "other = plain:main", "it has no command"),
        ("json", "async def run(): ...", None, "the name 'json' is a module of Python's standard library"),
    ],
)
def test_a_broken_skill_is_listed_with_the_reason(
    site: Path, name: str, code: str | None, script: str | None, reason: str
) -> None:
    install(site, "good")
    install(site, name, code, script)
    by_name = {skill.name: skill for skill in installed_skills([str(site)])}
    assert by_name["good"].state == "ok"
    assert by_name[name].state == "broken"
    assert reason in (by_name[name].broken or "")


def test_the_first_folder_of_the_path_wins_and_missing_ones_are_passed_over(site: Path) -> None:
    for folder in ("first", "second"):
        (site / folder).mkdir()
        install(site / folder, "plain", direct_url_json=json.dumps({"url": f"https://{folder}/"}))
    path = [str(site / "missing"), str(site / "first"), str(site / "second")]
    assert [skill.origin for skill in installed_skills(path)] == ["https://first/"]
    assert installed_names(path) == ("plain",)


def test_a_skill_can_be_imported_in_another_process_to_see_whether_it_fails() -> None:
    assert try_import("say") is None
    assert try_import("no_such_skill") == "ModuleNotFoundError: No module named 'no_such_skill'"
    assert try_import("say", seconds=1e-6) == "its import takes more than 1e-06 s"


def test_a_skill_is_tried_also_if_sigchld_is_ignored() -> None:
    ignoring = "import signal; signal.signal(signal.SIGCHLD, signal.SIG_IGN); from rlm.skill import try_import; "
    program = f"{ignoring}print(try_import('say'), try_import('no_such_skill'))"
    reported = subprocess.check_output([sys.executable, "-c", program], text=True)
    assert reported == "None ModuleNotFoundError: No module named 'no_such_skill'\n"


IMPORTS = {
    "silent": ("async def run(): ...", None),
    "loud": ("import os\nos.write(1, b'[1, 2]\\n')\nprint('{}')\nasync def run(): ...", None),
    "raises": ("raise ValueError('one\\ntwo \\ud800')", "ValueError: one two \\ud800"),
    "mute": ("class E(Exception):\n    def __str__(self): 1 / 0\nraise E", "raises anything: <exception str() failed>"),
    "exits": ("raise SystemExit(3)", "SystemExit: 3"),
    "ends": ("import os\nos._exit(0)", "its import ends Python with status 0"),
    "dies": ("import os\nos.kill(os.getpid(), 9)", "its import ends Python with status -9"),
    "hangs": ("import signal\nsignal.pause()", "its import takes more than 1 s"),
    "leaves": ("import os, signal\nif os.fork() == 0: signal.alarm(60); signal.pause()\nasync def run(): ...", None),
    "flees": (
        "import os, signal\nif os.fork() == 0: signal.alarm(60); signal.pause()\nos._exit(3)",
        "its import ends Python with status 3",
    ),
    "empty": ("", "it has no function `run`"),
    "needs": ("import os\nos.environ['NEEDED']\nasync def run(): ...", None),
}


def test_each_failing_import_is_reported_and_harms_neither_the_others_nor_the_caller(
    installation: Installation, tmp_path: Path
) -> None:
    """In the environment of wheels, because only installed skills are tried."""
    packages = next(installation.bin.parent.glob("lib/python*/site-packages"))
    for name, (code, _) in IMPORTS.items():
        (packages / f"{name}.py").write_text(f"{code}\n")
    try:
        reported = installation.ask(f"skill.try_imports({[*IMPORTS, 'nowhere']}, 1, {{'NEEDED': '1'}})")
    finally:
        for name in IMPORTS:
            (packages / f"{name}.py").unlink()
    assert isinstance(reported, dict)
    assert reported.pop("nowhere") == "ModuleNotFoundError: No module named 'nowhere'"
    assert reported.pop("mute").endswith("<exception str() failed>")
    assert reported == {name: why for name, (_, why) in IMPORTS.items() if why and name != "mute"}


def test_a_skill_file_that_cannot_be_read_is_reported(site: Path) -> None:
    install(site, "plain")
    file = site / "plain" / "SKILL.md"
    os.mkfifo(file)
    assert (only(site).unread, only(site).description) == ("SKILL.md is a pipe, not a plain file", "Does plain")
    file.unlink()
    file.write_bytes(b"---\ndescription: caf\xe9\n---\n")
    assert only(site).unread == "it is not UTF-8"
    file.write_text("Text.")
    assert only(site).unread == "the file does not begin with a line `---`"
    file.write_text("---\ndescription: Works.\n---\n")
    assert (only(site).unread, only(site).description) == (None, "Works.")


def test_a_module_of_its_name_in_a_project_is_not_imported_for_a_skill(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "say.py").write_text("raise RuntimeError('planted')")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    assert try_import("say") is None


@pytest.mark.parametrize("name", ["class", "json", "rlm", "../x", "a b", "", "Web-Search"])
def test_a_new_skill_with_a_bad_name_is_refused_with_the_rule(tmp_path: Path, name: str) -> None:
    with pytest.raises(ScaffoldError, match="a skill's name is a lower-case letter"):
        scaffold(name, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_new_skill_never_overwrites(tmp_path: Path) -> None:
    (tmp_path / "wordy").symlink_to("nowhere")
    with pytest.raises(ScaffoldError, match="exists already"):
        scaffold("wordy", tmp_path)


def test_a_new_skill_that_cannot_be_written_says_so_and_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ScaffoldError, match="cannot be created"):
        scaffold("wordy", tmp_path / "file")
    with pytest.raises(ScaffoldError, match="cannot be created"):
        scaffold("wordy", tmp_path / "new", tmp_path / "no template")
    assert list((tmp_path / "new").iterdir()) == []


def test_nothing_of_the_placeholder_is_left_and_leftovers_are_not_copied(tmp_path: Path) -> None:
    template = shutil.copytree(template_folder(), tmp_path / "template")
    (template / "src/myskill/__pycache__").mkdir()
    (template / ".pytest_cache").mkdir()
    folder = scaffold("wordy", tmp_path, template)
    files = [path for path in folder.rglob("*") if path.is_file()]
    assert {path.relative_to(folder).as_posix() for path in files} == {
        "SKILL.md",
        "pyproject.toml",
        "src/wordy/__init__.py",
        "src/wordy/wordy.py",
        "tests/test_wordy.py",
    }
    assert not [path for path in files if "myskill" in path.read_text()]
    assert not list(folder.rglob(".*")) + list(folder.rglob("__pycache__"))
