"""Whatever fails, the previous installation is still there afterwards."""

from __future__ import annotations

import itertools
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:  # at run time only pytest imports conftest.py
    from tests.install.conftest import Home, Skills

pytestmark = pytest.mark.timeout(600)  # several real installations, on a machine that may be busy


def unknown_dependency(checkout: Path) -> None:
    project = checkout / "packages/rlm-core/pyproject.toml"
    project.write_text(
        project.read_text().replace("dependencies = [", 'dependencies = [\n"no-such-distribution-of-rlm",')
    )


def failing_build(checkout: Path) -> None:
    project = checkout / "packages/rlm-core/pyproject.toml"
    project.write_text(project.read_text().replace('"hatchling.build"', '"hatchling.nothing"'))


def crash_at_start(checkout: Path) -> None:
    (checkout / "packages/rlm-core/src/rlm/cli/main.py").write_text("import no_such_module_of_rlm\n")


def test_a_checkout_that_does_not_install_leaves_the_previous_installation_whole(
    home: Home, skills: Skills, copy_checkout: Callable[[str], Path]
) -> None:
    skills.write("greet")
    home = home.knowing(RLM_SKILLS_DIR=skills.path)
    home.install()
    before = home.state
    without_skills = home.knowing(RLM_SKILLS_DIR="")
    for spoil, tried in (
        (unknown_dependency, home),
        (failing_build, without_skills),
        (crash_at_start, without_skills),
    ):
        broken = copy_checkout(spoil.__name__)
        spoil(broken)
        done = tried.knowing(RLM_CHECKOUT_PATH=broken).try_install()
        assert done.code == 1
        assert done.last == "rlm: nothing changed: rlm does not install"
        assert "no_such" in done.err.replace("-", "_") or "hatchling.nothing" in done.err
        assert home.state == before
    assert home.call("rlm", "--version")
    assert home.call("greet") == "hello\n"


def test_a_first_installation_that_fails_leaves_nothing(home: Home, copy_checkout: Callable[[str], Path]) -> None:
    broken = copy_checkout("broken")
    unknown_dependency(broken)
    assert home.knowing(RLM_CHECKOUT_PATH=broken).try_install().code == 1
    assert home.commands == set()
    assert not home.tool.exists()
    assert not list(home.tools.glob(".rlm-install.*/"))


SECOND_START = """
import os, pathlib, time

def main():
    starts = pathlib.Path(os.environ["STARTS"])
    (starts / str(len(list(starts.iterdir())))).touch()
    if (starts / "1").exists():
        END
    print("rlm 0")
"""


@pytest.fixture
def ending(home: Home, copy_checkout: Callable[[str], Path], tmp_path: Path) -> Callable[[str], Home]:
    """A function that gives a home whose checkout starts once, in the rehearsal, and fails at its second start with
    this end.
    """

    numbers = itertools.count()

    def spoil(end: str) -> Home:
        number = next(numbers)
        checkout, starts = copy_checkout(f"ending-{number}"), tmp_path / f"starts-{number}"
        (checkout / "packages/rlm-core/src/rlm/cli/main.py").write_text(SECOND_START.replace("END", end))
        starts.mkdir()
        return home.knowing(RLM_CHECKOUT_PATH=checkout, STARTS=starts)

    return spoil


@contextmanager
def in_the_middle(home: Home) -> Iterator[subprocess.Popen[bytes]]:
    """An installation that has removed the previous one, and is testing the new one."""
    command = ["bash", str(home.checkout / "install.sh")]
    with subprocess.Popen(
        command, env=home.env, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, start_new_session=True
    ) as process:
        try:
            wait_for(lambda: (Path(home.env["STARTS"]) / "1").exists() or process.poll() is not None)
            assert process.poll() is None
            yield process
        finally:
            kill_group(process.pid)


def kill_group(group: int) -> None:
    try:
        os.killpg(group, signal.SIGKILL)
    except ProcessLookupError:
        return  # it has ended already


def wait_for(condition: Callable[[], bool], seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def install_twice_at_once(home: Home) -> None:
    """The second one waits for the first."""
    command = ["bash", str(home.checkout / "install.sh")]
    both = [subprocess.Popen(command, env=home.env, stderr=subprocess.PIPE, text=True) for _ in range(2)]
    errors = [process.communicate()[1] for process in both]
    assert [process.returncode for process in both] == [0, 0], errors
    assert sum("waiting for another installation" in text for text in errors) == 1
    assert home.commands == {"rlm", "greet"}
    assert home.call("greet") == "hello\n"


def test_a_failure_after_a_successful_rehearsal_restores_the_previous_installation(
    home: Home, skills: Skills, ending: Callable[[str], Home], copy_checkout: Callable[[str], Path]
) -> None:
    skills.write("greet")
    install_twice_at_once(home.knowing(RLM_SKILLS_DIR=skills.path))
    before = home.state
    done = ending("raise RuntimeError('second start')").try_install()
    assert done.code == 1
    assert "second start" in done.err
    assert done.last.endswith("what was there before is back")
    assert home.state == before
    for number, code in ((signal.SIGTERM, 143), (signal.SIGINT, 130)):
        with in_the_middle(ending("time.sleep(600)")) as process:
            process.send_signal(number)
            assert process.wait(30) == code
        assert home.state == before, "a signal restores it at once"
    with in_the_middle(ending("time.sleep(600)")) as process:
        kill_group(process.pid)
        process.wait(30)
    assert home.state != before
    broken = copy_checkout("broken")
    unknown_dependency(broken)
    assert home.knowing(RLM_CHECKOUT_PATH=broken).try_install().code == 1
    assert home.state == before, "the next installation repairs what a killed one left, even if it fails itself"
    assert home.call("greet") == "hello\n"
