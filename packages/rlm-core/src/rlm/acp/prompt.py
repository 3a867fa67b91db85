"""Converts the user's message, the content blocks of a prompt, to the task of an agent. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from urllib.parse import unquote, urlsplit

from rlm.core.messages import Wire
from rlm.errors import ConfigError
from rlm.text.clip import clip

LONGEST = 200_000
"""Maximum characters of a resource in the task."""


@dataclass(frozen=True, slots=True)
class PromptContent:
    """A task, and its pictures as data URLs."""

    task: str
    pictures: tuple[str, ...] = ()


def read_prompt(blocks: Sequence[Wire]) -> PromptContent:
    """
    Raises:
        ConfigError: the prompt is empty, or contains a type that rlm does not accept.
    """
    text = "".join(_texts(blocks)).strip("\n")
    pictures = tuple(_picture(block) for block in blocks if block["type"] == "image")
    if not text.strip() and pictures:
        text = "Look at this." if len(pictures) == 1 else "Look at these."
    if not text.strip():
        raise ConfigError("The prompt is empty.")
    return PromptContent(text, pictures)


def _texts(blocks: Sequence[Wire]) -> Iterator[str]:
    """Yield text unchanged, then the contents of files.

    Text is not stripped, because a client splits a sentence where it mentions a file.
    """
    for block in blocks:
        match block["type"]:
            case "text":
                yield block["text"]
            case "resource_link":
                yield f"`{_path(block['uri'])}`"
            case "resource":
                yield f"`{_path(block['resource']['uri'])}`"
            case "audio":
                raise ConfigError("rlm accepts no audio. Send text, files and images.")
    for block in blocks:
        if block["type"] == "resource":
            yield f"\n\n{_embedded(block['resource'])}"


def _embedded(resource: Wire) -> str:
    text = resource.get("text")
    path = _path(resource["uri"])
    if not isinstance(text, str):
        return f'<file path="{path}">\n[A binary file, which is not shown.]\n</file>'
    return f'<file path="{path}">\n{clip(text, LONGEST, path)}\n</file>'


def _path(uri: str) -> str:
    """The path of a file with the selected lines; for other resources, the URI."""
    parts = urlsplit(uri)
    if parts.scheme != "file":
        return uri
    return unquote(parts.path) + (f"#{parts.fragment}" if parts.fragment else "")


def _picture(block: Wire) -> str:
    data, uri = block.get("data"), block.get("uri")
    if data:
        return f"data:{block.get('mimeType') or 'image/png'};base64,{data}"
    if isinstance(uri, str) and uri.startswith("https://"):
        return uri
    raise ConfigError("The image has no data.")
