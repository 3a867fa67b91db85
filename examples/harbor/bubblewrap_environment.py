"""A Harbor environment without a container engine: each command runs in bubblewrap, on folders of the trial.

It confines little: the system is read-only, the network is the host's. Use it to try agents, not for untrusted tasks.
"""

import asyncio
import shutil
from pathlib import Path

from harbor.environments.base import BaseEnvironment, ExecResult

MADE = ("app", "logs", "tests", "installed-agent", "home", "solution")


class BubblewrapEnvironment(BaseEnvironment):
    @staticmethod
    def type() -> str:
        return "bubblewrap"

    def _validate_definition(self) -> None: ...
    def _validate_gpu_support(self) -> None: ...

    def _here(self, path: str) -> Path:
        return self.trial_paths.trial_dir / "root" / str(path).lstrip("/")

    async def start(self, force_build: bool) -> None:
        for name in (*MADE, "logs/agent", "logs/verifier", "logs/artifacts"):
            self._here(name).mkdir(parents=True, exist_ok=True)

    async def stop(self, delete: bool) -> None: ...

    async def upload_file(self, source_path: Path | str, target_path: str) -> None:
        self._here(target_path).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(source_path, self._here(target_path))

    async def upload_dir(self, source_dir: Path | str, target_dir: str) -> None:
        shutil.copytree(source_dir, self._here(target_dir), dirs_exist_ok=True)

    async def download_file(self, source_path: str, target_path: Path | str) -> None:
        shutil.copy(self._here(source_path), target_path)

    async def download_dir(self, source_dir: str, target_dir: Path | str) -> None:
        shutil.copytree(self._here(source_dir), target_dir, dirs_exist_ok=True)

    async def exec(self, command, cwd=None, env=None, timeout_sec=None, user=None) -> ExecResult:
        system = [path for path in Path("/").iterdir() if path.name not in (*MADE, "dev", "proc", "tmp")]
        binds = [word for path in system for word in ("--ro-bind", str(path), str(path))]
        binds += [word for name in MADE for word in ("--bind", str(self._here(name)), f"/{name}")]
        variables = {"HOME": "/home", **(self._merge_env(env) or {})}
        given = [word for name, value in variables.items() for word in ("--setenv", name, value)]
        words = ["bwrap", *binds, "--dev", "/dev", "--proc", "/proc", "--tmpfs", "/tmp", *given]
        process = await asyncio.create_subprocess_exec(
            *words, "--chdir", cwd or "/app", "bash", "-c", command,
            stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
        )  # fmt: skip
        out, err = await asyncio.wait_for(process.communicate(), timeout_sec)
        return ExecResult(stdout=out.decode(), stderr=err.decode(), return_code=process.returncode)
