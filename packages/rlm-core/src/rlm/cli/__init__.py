"""The command line. Each module here is a front end: it reads arguments, watches a run and prints."""

from __future__ import annotations


class Interrupted(Exception):
    """A signal ended the command, and everything was closed. `code` is the exit code.

    It is defined here, and not in `signals`, because `main` must not import asyncio.
    """

    def __init__(self, code: int) -> None:
        super().__init__(code)
        self.code = code
