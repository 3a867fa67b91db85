"""Published MCP servers, installed with each major version of the package mcp, called from a cell.

They need package indexes: a server that cannot be installed is skipped with the reason. `just mcp-servers` runs them,
with each major version on rlm's side as well; `pytest` does not. The servers get no requests for other machines.
"""

from __future__ import annotations

import importlib.metadata
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import rlm
from rlm_testkit.cli import Session
from rlm_testkit.found_uv import UV
from rlm_testkit.scripted import Answer, Request, Scripted, call, text

OF_PYTHON = {
    "fetch": "print(await fetch.fetch(url={page!r}))",
    "git": "print(await git.git_status(repo_path={repository!r}))",
    "time": "print(await time_mcp.convert_time(source_timezone='UTC', time='16:30', target_timezone='Asia/Tokyo'))",
}
"""Calls by name: mcp-server-NAME is the package on PyPI."""
OF_NPM = "@modelcontextprotocol/server-filesystem"
FILES = "print(await files.read_text_file(path={file!r}))\nprint(mcp.search('directory'))"
EXPECTED = {"fetch": "All is well.", "git": "On branch trunk", "time": "T01:30:00+09:00", "files": "kept here"}


def install(*words: str | Path, cwd: Path) -> None:
    """Install it, or skip the test."""
    done = subprocess.run(list(map(str, words)), cwd=cwd, capture_output=True, text=True, timeout=250, check=False)
    if done.returncode:
        pytest.skip(f"NOT TESTED: {words[-1]} cannot be installed: {done.stderr[-300:]}")


def results(servers: dict[str, Any], cells: list[str], folder: Path) -> list[str]:
    """The result of each cell, in a run with these servers."""

    def script(request: Request) -> Answer:
        return call("ipython", code=cells[request.turn]) if request.turn < len(cells) else text("done")

    with Scripted(script) as server:
        result = rlm.run_sync("go", cwd=folder, mcp={"mcpServers": servers}, base_url=server.url, model="scripted")
    assert result.ok
    return Session(result.session_dir).results


@pytest.fixture
def page() -> Iterator[str]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            found = self.path == "/page"  # the server requests robots.txt first
            self.send_response(200 if found else 404)
            self.send_header("Content-Type", "text/html")
            self.end_headers()
            self.wfile.write(b"<html><body><article><p>All is well.</p></article></body></html>" if found else b"")

        def log_message(self, *_: object, **__: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/page"
    server.shutdown()
    server.server_close()


@pytest.mark.timeout(580)
@pytest.mark.parametrize("major", ["mcp<2", "mcp>=2,<3"])
def test_servers_of_pypi_are_functions_in_a_cell(major: str, page: str, tmp_path: Path) -> None:
    print(f"\nservers with {major}, rlm with mcp {importlib.metadata.version('mcp')}")
    programs = tmp_path / "venv/bin"
    install(UV, "venv", "-q", "--python", Path(sys.executable).resolve(), "venv", cwd=tmp_path)
    wanted = [f"mcp-server-{name}" for name in OF_PYTHON]
    install(UV, "pip", "install", "-q", "--python", programs / "python", major, *wanted, cwd=tmp_path)
    repository = tmp_path / "repository"
    subprocess.run(["git", "init", "-q", "-b", "trunk", str(repository)], check=True)
    servers: dict[str, Any] = {name: {"command": str(programs / f"mcp-server-{name}")} for name in OF_PYTHON}
    servers["fetch"]["args"] = ["--allow-private-ips"]  # the page is on this machine
    cells = [cell.format(page=page, repository=str(repository)) for cell in OF_PYTHON.values()]
    results_of = results(servers, cells, tmp_path)
    assert [] == [
        (name, result) for name, result in zip(OF_PYTHON, results_of, strict=True) if EXPECTED[name] not in result
    ]


@pytest.mark.timeout(580)
def test_a_server_of_npm_is_one_too(tmp_path: Path) -> None:
    npm, node = shutil.which("npm"), shutil.which("node")
    if npm is None or node is None:
        pytest.skip("NOT TESTED with a server of npm: there is no npm")
    install(npm, "install", "--silent", "--no-audit", "--no-fund", "--prefix", tmp_path, OF_NPM, cwd=tmp_path)
    shared = tmp_path / "shared"
    shared.mkdir()
    (shared / "file.txt").write_text("kept here")
    program = tmp_path / f"node_modules/{OF_NPM}/dist/index.js"
    servers = {"files": {"command": node, "args": [str(program), str(shared)]}}
    (results_of,) = results(servers, [FILES.format(file=str(shared / "file.txt"))], tmp_path)
    assert EXPECTED["files"] in results_of
    assert "files.list_directory(path: str)" in results_of
