"""git as the tests use it."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping
from pathlib import Path


def git(folder: Path, *words: str, stdin: bytes = b"", env: Mapping[str, str] = os.environ) -> str:
    """Run git in a folder, with an author and without the configuration of the user and the system.

    Returns:
        Its stdout; bytes that are not UTF-8 become surrogates.
    """
    options = ("user.name=a", "user.email=a@b", "protocol.file.allow=always")
    done = subprocess.run(
        ["git", "-C", folder, *(word for option in options for word in ("-c", option)), *words],
        input=stdin,
        env={**env, "GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_NOSYSTEM": "1"},
        check=True,
        capture_output=True,
    )
    return done.stdout.decode(errors="surrogateescape")
