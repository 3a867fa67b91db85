"""Take secrets out of what is written down."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

REDACTED = "[redacted]"

SHORTEST = 8
"""Characters. A shorter secret ("x", "EMPTY", "ollama": what local servers take for a key) is a word, not a secret."""


class Redactor:
    """Knows the secrets in use."""

    def __init__(self, secrets: Iterable[str] = ()) -> None:
        # the longest first: one secret may begin with another
        self._secrets = sorted({secret for secret in secrets if len(secret) >= SHORTEST}, key=len, reverse=True)

    def text(self, text: str) -> str:
        for secret in self._secrets:
            text = text.replace(secret, REDACTED)
        return text

    def value(self, value: Any) -> Any:
        """The same JSON value without secrets in it, be they deep inside or keys."""
        if not self._secrets:
            return value
        match value:
            case str():
                return self.text(value)
            case dict():
                return {self.text(key): self.value(item) for key, item in value.items()}
            case list() | tuple():
                return [self.value(item) for item in value]
            case _:
                return value
