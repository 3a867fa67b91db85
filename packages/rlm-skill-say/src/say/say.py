"""The skill `say`."""

import asyncio
import dataclasses
import enum
from pathlib import Path
from typing import Any, Literal


class Voice(enum.Enum):
    """Who speaks."""

    ALICE = "alice"
    BOB = "bob"


@dataclasses.dataclass(frozen=True)
class Line:
    """One more thing to say, and how often."""

    text: str
    times: int = 1


@dataclasses.dataclass(frozen=True)
class Pace:
    """How fast to speak.

    Attributes:
        pause: Seconds of silence before speaking.
        echo: How often to repeat.
    """

    pause: float = 0.0
    echo: int = 1


async def run(
    text: str,
    *,
    names: list[str] | None = None,
    tone: Literal["plain", "loud", "soft"] = "plain",
    voice: Voice = Voice.ALICE,
    into: Path | None = None,
    signed: bool = False,
    pace: Pace = Pace(),
    lines: list[Line] | None = None,
    extra: dict[str, Any] | None = None,
    as_data: bool = False,
) -> str | dict[str, Any] | None:
    """Say a text, to everybody named.

    This is the fixture of rlm's tests: it has a parameter of every kind that a command line takes.

    Args:
        text: What to say.
        names: Whom to greet first.
        tone: How to say it.
        voice: Who says it.
        into: A file to write to instead of answering.
        signed: Whether to add who said it.
        pace: How fast to say it.
        lines: More to say, each with how often.
        extra: Anything else, which comes back with the data.
        as_data: Whether to answer with data rather than text.

    Returns:
        The text; or with `as_data` a dictionary; or with `into` nothing.

    Raises:
        ValueError: If there is nothing to say.
    """
    if not text:
        raise ValueError("there is nothing to say")
    await asyncio.sleep(pace.pause)
    said = _compose(text, names or [], tone, lines or []) * pace.echo
    if signed:
        said.append(f"-- {voice.value}")
    if into:
        _write(said, into)
        return None
    return {"said": said, "voice": voice, "extra": extra or {}} if as_data else "\n".join(said)


def _write(said: list[str], into: Path) -> None:
    into.write_text("\n".join(said), encoding="utf-8")


def _compose(text: str, names: list[str], tone: str, lines: list[Line]) -> list[str]:
    said = [f"Hello {name}!" for name in names] + [text]
    said += [line.text for line in lines for _ in range(line.times)]
    tones = {"loud": str.upper, "soft": str.lower}
    return [tones.get(tone, str)(words) for words in said]
