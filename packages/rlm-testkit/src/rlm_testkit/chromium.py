"""Drives a headless Chromium through its own pipe: no port, no driver, no package."""

from __future__ import annotations

import base64
import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

Message = dict[str, Any]

NAMES = ("chromium", "chromium-browser", "google-chrome")
_FLAGS = [
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--disable-background-networking", "--no-first-run",
    "--disable-component-update", "--disable-sync", "--disable-extensions", "--hide-scrollbars", "--remote-debugging-pipe",
]  # fmt: skip


def installed() -> str | None:
    return next((path for name in NAMES if (path := shutil.which(name))), None)


class Page:
    """An open page with its events: `messages` of its console, its `requests`, and its `dialogs`."""

    def __init__(self, to: int, from_: int) -> None:
        self._to = os.fdopen(to, "wb", buffering=0)
        self._from = os.fdopen(from_, "rb")
        self._number = 0
        self._session: str | None = None
        self._events: list[Message] = []
        target = self.send("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.send("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network", "Audits"):
            self.send(f"{domain}.enable")

    def send(self, method: str, **params: Any) -> Message:
        """Send a command and return its answer; events that arrive first are stored."""
        self._number += 1
        command: Message = {"id": self._number, "method": method, "params": params}
        self._to.write(json.dumps(command | ({"sessionId": self._session} if self._session else {})).encode() + b"\0")
        while True:
            message = self._read()
            if message.get("id") == self._number:
                assert "error" not in message, message
                result: Message = message["result"]
                return result

    def _read(self) -> Message:
        data = bytearray()
        while (byte := self._from.read(1)) != b"\0":
            assert byte, "the browser is gone"
            data += byte
        message: Message = json.loads(data)
        if "method" in message:
            self._events.append(message)
        return message

    def open(self, url: str) -> None:
        """Open a URL, and wait until it is loaded."""
        self._events.clear()
        self.send("Page.navigate", url=url)
        while not self.events("Page.loadEventFired"):
            self._read()

    def eval(self, expression: str) -> Any:
        answer = self.send("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in answer, answer
        return answer["result"].get("value")

    def press(self, key: str) -> None:
        for kind in ("keyDown", "keyUp"):
            self.send("Input.dispatchKeyEvent", type=kind, key=key, text=key if kind == "keyDown" else "")

    def resize(self, width: int, height: int, *, mobile: bool = False, dark: bool = False) -> None:
        metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": mobile}
        self.send("Emulation.setDeviceMetricsOverride", **metrics)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.send("Emulation.setEmulatedMedia", features=[scheme])

    def events(self, *methods: str) -> list[Message]:
        return [event["params"] for event in self._events if event["method"] in methods]

    @property
    def messages(self) -> list[Message]:
        """The messages that the console would show, including violations of the page's policy."""
        return self.events("Runtime.consoleAPICalled", "Runtime.exceptionThrown", "Log.entryAdded", "Audits.issueAdded")

    @property
    def requests(self) -> list[str]:
        """The requested addresses; embedded pictures make no requests."""
        urls = [event["request"]["url"] for event in self.events("Network.requestWillBeSent")]
        return [url for url in urls if not url.startswith("data:")]

    @property
    def dialogs(self) -> list[Message]:
        return self.events("Page.javascriptDialogOpening")

    def close(self) -> None:
        self._to.close()
        self._from.close()


@contextmanager
def open_page() -> Iterator[Page]:
    """Start a browser with one page; remove everything of it at the end."""
    program = installed()
    assert program, "Chromium is not installed"
    parent_end, child_end = os.pipe(), os.pipe()  # the browser reads from 3 and writes to 4
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        command = [program, *_FLAGS, f"--user-data-dir={profile}"]
        shell = f'exec "$@" 3<&{parent_end[0]} 4>&{child_end[1]}'
        with subprocess.Popen(
            ["bash", "-c", shell, "-", *command], pass_fds=[parent_end[0], child_end[1]], stderr=subprocess.DEVNULL
        ) as browser:
            os.close(parent_end[0])
            os.close(child_end[1])
            page = Page(parent_end[1], child_end[0])
            try:
                yield page
            finally:
                page.close()
                browser.terminate()
                browser.wait()


def shoot(page: Page, file: Path) -> None:
    """Save a screenshot."""

    file.write_bytes(base64.b64decode(page.send("Page.captureScreenshot", format="png")["data"]))
