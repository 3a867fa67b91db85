"""Runs the real `rlm` command in a temporary home, and reads the files that it left."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, overload

from rlm_testkit.waiting import TIMEOUT

BY_RESPONSES = os.environ.get("TEST_API") == "responses"
"""Whether the tests run over the Responses API: `TEST_API=responses pytest tests/acceptance`."""

COMMAND = Path(sys.executable).with_name("rlm")
Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Session:
    """A session folder, read only through its files, as a foreign program would."""

    folder: Path

    @property
    def meta(self) -> Json:
        return dict(json.loads((self.folder / "meta.json").read_text()))

    @property
    def records(self) -> list[Json]:
        return [json.loads(line) for line in (self.folder / "messages.jsonl").read_text().splitlines()]

    @property
    def unsigned(self) -> list[Json]:
        """The records without their signatures."""
        return [{name: value for name, value in record.items() if name != "mac"} for record in self.records]

    @property
    def messages(self) -> list[Json]:
        return [record["message"] for record in self.records if record["type"] == "message"]

    @property
    def results(self) -> list[str]:
        """The results that the model got from its tools."""
        return [message["content"] for message in self.messages if message["role"] == "tool"]

    @property
    def children(self) -> list[Session]:
        return [Session(path) for path in sorted(self.folder.glob("sub-*"))]

    def requests(self) -> Iterator[list[Json]]:
        """The messages of each request, rebuilt by the rules of docs/sessions.md."""
        live: dict[int, Json] = {}
        for record in self.records:
            if record["type"] == "drop":
                for id in record["ids"]:
                    del live[id]
                live |= {int(id): message for id, message in record.get("left", {}).items()}
            elif record["type"] == "adapt":
                live |= {int(id): message for id, message in record["messages"].items()}
                for id in record["gone"]:
                    del live[id]
            elif record["type"] == "message":
                if record["message"]["role"] == "assistant":
                    yield list(live.values())
                live[record["id"]] = record["message"]


@dataclass(frozen=True, slots=True)
class Done:
    """The result of a command. `out` and `err` are its complete stdout and stderr."""

    code: int
    out: str
    err: str
    cwd: Path

    @property
    def lines(self) -> list[Json]:
        """The JSON lines of `--json` on stdout."""
        return [json.loads(line) for line in self.out.splitlines()]

    @property
    def sessions(self) -> list[Session]:
        return [Session(path) for path in sorted((self.cwd / ".rlm" / "sessions").glob("[0-9a-f]*"))]

    @property
    def session(self) -> Session:
        (session,) = self.sessions
        return session


@dataclass(frozen=True, slots=True)
class Rlm:
    """The command, in its own folder and home. `environment` holds only the variables named here."""

    folder: Path
    environment: Mapping[str, str] = field(default_factory=dict)
    command: Path = COMMAND

    @property
    def cwd(self) -> Path:
        path = self.folder / "work"
        path.mkdir(parents=True, exist_ok=True)
        return path

    @property
    def session(self) -> Session:
        """The only session in its working directory."""
        return Done(0, "", "", self.cwd).session

    def env(self, **more: str) -> dict[str, str]:
        home = self.folder / "home"
        home.mkdir(parents=True, exist_ok=True)
        base = {"HOME": str(home), "PATH": os.environ["PATH"], "LANG": "C.UTF-8", "TERM": "xterm-256color"}
        if BY_RESPONSES:
            base["RLM_API"] = "responses"
        return base | dict(self.environment) | more

    def owns_what_is_signed_with(self, secret: bytes) -> None:
        """Make `secret` the user's session key, so that sessions signed with it by a test belong to this user."""
        folder = Path(self.env()["HOME"]) / ".local/state/rlm"
        folder.mkdir(mode=0o700, parents=True)
        file = folder / "session-key"
        file.touch(mode=0o600)
        file.write_bytes(secret)

    @overload  # without `timeout`, so that a dict of variables cannot match it
    def __call__(self, *words: str, stdin: str | bytes | None = None, **env: str) -> Done: ...

    @overload
    def __call__(self, *words: str, stdin: str | bytes | None = None, timeout: float, **env: str) -> Done: ...

    def __call__(  # type: ignore[misc]  # no variable is called `timeout`
        self, *words: str, stdin: str | bytes | None = None, timeout: float = TIMEOUT, **env: str
    ) -> Done:
        """Run `rlm WORDS`; `stdin` is fed through a pipe, None is /dev/null."""
        data = stdin.encode() if isinstance(stdin, str) else stdin
        source: dict[str, Any] = {"stdin": subprocess.DEVNULL} if data is None else {"input": data}
        done: subprocess.CompletedProcess[bytes] = subprocess.run(
            [str(self.command), *words],
            cwd=self.cwd,
            env=self.env(**env),
            capture_output=True,
            timeout=timeout,
            check=False,
            **source,
        )
        return Done(done.returncode, done.stdout.decode(), done.stderr.decode(), self.cwd)

    def start(self, *words: str, **env: str) -> subprocess.Popen[bytes]:
        """Start the command and return at once; the caller waits for its end."""
        return subprocess.Popen(
            [str(self.command), *words],
            cwd=self.cwd,
            env=self.env(**env),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )


def python(rlm: Rlm, program: str, **env: str) -> subprocess.CompletedProcess[str]:
    """Run a Python program, with warnings as errors."""
    command = [sys.executable, "-W", "error", "-c", program]
    return subprocess.run(
        command, cwd=rlm.cwd, env=rlm.env(**env), capture_output=True, text=True, timeout=60, check=False
    )
