"""Temporary homes, copies of this checkout, and skills, for an installer that is run as users run it."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest
from rlm_testkit.found_uv import UV

REPOSITORY = Path(__file__).parents[2]
Files = dict[str, object]


def list_files(folder: Path) -> Files:
    """Every file and link under a folder, with a value that changes if it is written again. Compiled files are left
    out.
    """
    found: Files = {}
    for path in sorted(folder.rglob("*")):
        if path.is_symlink():
            found[str(path.relative_to(folder))] = path.readlink()
        elif path.is_file() and "__pycache__" not in path.parts:
            status = path.stat()
            found[str(path.relative_to(folder))] = (status.st_ino, status.st_size, status.st_mtime_ns)
    return found


def pass_through() -> dict[str, str]:
    """The variables by which this machine reaches an index; none about its environments, homes and keys."""
    ours = ("RLM_", "OPENAI_", "XDG_", "UV_TOOL", "UV_PROJECT", "UV_INSTALL", "UV_PYTHON", "PYTHON", "VIRTUAL_ENV")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(ours) and name != "UV"}
    real = Path.home()
    kept["XDG_CONFIG_HOME"] = os.environ.get(
        "XDG_CONFIG_HOME", str(real / ".config")
    )  # a mirror may be configured there
    kept["UV_CACHE_DIR"] = output_of(UV, "cache", "dir")
    kept["UV_PYTHON_INSTALL_DIR"] = output_of(UV, "python", "dir")
    kept["PIP_CACHE_DIR"] = os.environ.get("PIP_CACHE_DIR", str(real / ".cache/pip"))
    return kept


def output_of(*command: object) -> str:
    return subprocess.run([str(word) for word in command], check=True, capture_output=True, text=True).stdout.strip()


@dataclass(frozen=True, slots=True)
class CommandResult:
    """How a command ended."""

    code: int
    out: str
    err: str

    @property
    def last(self) -> str:
        return self.err.rstrip().rpartition("\n")[2]


@dataclass(frozen=True, slots=True)
class Home:
    """A user's home folder, the checkout to install from, and the environment of its commands."""

    path: Path
    checkout: Path
    env: dict[str, str] = field(repr=False)

    @property
    def bin(self) -> Path:
        return Path(self.env.get("UV_TOOL_BIN_DIR", self.path / ".local/bin"))

    @property
    def tools(self) -> Path:
        data = Path(self.env.get("XDG_DATA_HOME", self.path / ".local/share"))
        return Path(self.env.get("UV_TOOL_DIR", data / "uv/tools"))

    @property
    def tool(self) -> Path:
        return self.tools / "rlm"

    @property
    def packages(self) -> Path:
        return next(self.tool.glob("lib/python3.*/site-packages"))

    @property
    def notes(self) -> Path:
        return self.tool / "share/rlm/skills"

    @property
    def commands(self) -> set[str]:
        return {path.name for path in self.bin.iterdir()} if self.bin.exists() else set()

    @property
    def state(self) -> tuple[Files, Files, list[str]]:
        """The environment, the commands, and the folders beside it: a failed installation must not change them."""
        beside = [path.name for path in self.tools.iterdir() if path.is_dir()]
        return list_files(self.tool), list_files(self.bin), beside

    def knowing(self, **variables: object) -> "Home":
        return replace(self, env=self.env | {name: str(value) for name, value in variables.items()})

    def run(self, *command: object, cwd: Path | None = None, timeout: float = 280) -> CommandResult:
        words = [str(word) for word in command]
        done = subprocess.run(
            words,
            check=False,
            env=self.env,
            cwd=cwd or self.path,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=timeout,
        )
        return CommandResult(done.returncode, done.stdout, done.stderr)

    def try_install(self, *arguments: str, cwd: Path | None = None) -> CommandResult:
        return self.run("bash", self.checkout / "install.sh", *arguments, cwd=cwd)

    def install(self, *arguments: str, cwd: Path | None = None) -> CommandResult:
        done = self.try_install(*arguments, cwd=cwd)
        assert done.code == 0, done.err
        return done

    def install_but_for_some_skills(self) -> CommandResult:
        done = self.try_install()
        assert done.code == 3, done.err
        return done

    def call(self, command: str, *arguments: str) -> str:
        done = self.run(self.bin / command, *arguments)
        assert done.code == 0, done.err
        return done.out


@pytest.fixture(scope="session")
def listing() -> Callable[[Path], Files]:
    return list_files


@pytest.fixture(scope="session")
def snapshot(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """This checkout as it would be uploaded: without history, environment and ignored files."""
    ignored = [line.rstrip("/") for line in (REPOSITORY / ".gitignore").read_text().split()]
    target = tmp_path_factory.mktemp("made") / "checkout"
    return Path(shutil.copytree(REPOSITORY, target, ignore=shutil.ignore_patterns(".git", *ignored)))


@pytest.fixture
def copy_checkout(snapshot: Path, tmp_path: Path) -> Callable[[str], Path]:
    """A function that creates a checkout which a test may change."""
    return lambda name: Path(shutil.copytree(snapshot, tmp_path / name))


@pytest.fixture(scope="session")
def only_uv(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder for PATH that contains only uv."""
    folder = tmp_path_factory.mktemp("uv")
    (folder / "uv").symlink_to(UV)
    return folder


@pytest.fixture
def home(tmp_path: Path, snapshot: Path, only_uv: Path) -> Home:
    path = tmp_path / "home"
    path.mkdir()
    return Home(path, snapshot, pass_through() | {"HOME": str(path), "PATH": f"{only_uv}:/usr/local/bin:/usr/bin:/bin"})


@pytest.fixture(scope="session")
def path_without_uv(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder for PATH with the programs of a bare machine: the system's programs and a python3, but no uv."""
    folder = tmp_path_factory.mktemp("bare")
    (folder / "python3").symlink_to(Path(sys.executable).resolve())
    for place in ("/usr/bin", "/bin"):
        for program in Path(place).iterdir():
            if not program.name.startswith(("uv", "python", "pip")) and not (folder / program.name).exists():
                (folder / program.name).symlink_to(program)
    return folder


@dataclass(frozen=True, slots=True)
class Skills:
    """A folder of skills, with a method to write good and bad ones."""

    path: Path

    def write(self, name: str, says: str = "hello", project: str = "", scripts: str | None = None) -> Path:
        folder = self.path / name
        scripts = scripts or f'{name} = "rlm.skill:cli"'
        source = folder / "src" / name
        source.mkdir(parents=True, exist_ok=True)
        (folder / "SKILL.md").write_text(f"---\nname: {name}\ndescription: Says {says}.\n---\nCall it.\n")
        (folder / "pyproject.toml").write_text(
            f'[project]\nname = "rlm-skill-{name.replace("_", "-")}"\nversion = "0.1.0"\n'
            f'requires-python = ">=3.11"\n{project or DEPENDENCIES}\n'
            f"[project.scripts]\n{scripts}\n"
            f'[build-system]\nrequires = ["hatchling"]\nbuild-backend = "hatchling.build"\n'
            f'[tool.hatch.build.targets.wheel]\npackages = ["src/{name}"]\n'
        )
        (source / "__init__.py").write_text(f"from {name}.{name} import run\n\n__all__ = ['run']\n")
        (source / f"{name}.py").write_text(f'async def run() -> str:\n    """Says {says}."""\n    return {says!r}\n')
        return folder


DEPENDENCIES = 'dependencies = ["rlm-skill"]'


@pytest.fixture
def skills(tmp_path: Path) -> Skills:
    folder = tmp_path / "skills"
    folder.mkdir()
    return Skills(folder)


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A temporary folder that every user can enter; pytest's own folders can be entered by one user only."""
    folder = Path(output_of("mktemp", "-d"))
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder)
