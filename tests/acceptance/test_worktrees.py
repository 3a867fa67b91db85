"""Sub-agents that work in separate git worktrees."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from rlm_testkit.cli import Rlm
from rlm_testkit.git import git
from rlm_testkit.scripted import Answer, Request, Scripted, call, text

Make = Callable[[Scripted], Rlm]

ROOT = """\
import asyncio, subprocess
one, two = await asyncio.gather(*(rlm.run(t, isolation="worktree", cwd="sub") for t in ("one", "two")))
print(subprocess.getoutput("git status --short"), "|", one.patch == two.patch, "|", one.answer)
subprocess.run(["git", "apply"], input=one.patch, text=True, check=True)
for options in ({"isolation": "vm"}, {"isolation": "worktree", "cwd": "/"}):
    try:
        await rlm.run("x", **options)
    except rlm.AgentError as error:
        print(error)"""
CHILD = """\
import os, subprocess
assert os.path.basename(os.getcwd()) == "sub" and open("../a.txt").read() == "one\\ndirty\\n"
open("../a.txt", "a").write("child\\n")
os.remove("../gone")
print(subprocess.getoutput("git -c user.name=a -c user.email=a@b commit -qam x"))
deeper = await rlm.run("deeper", isolation="worktree")
assert "+grandchild" in deeper.patch and "child\\n" in deeper.patch
print(open("../a.txt").read())
await rlm.run("beside")"""
DEEPER = {
    "deeper": "open('../a.txt', 'a').write('grandchild\\n')",
    "beside": "open('by a sub-agent in the same copy', 'w').write('1')",
}


def script(request: Request) -> Answer:
    if request.turn:
        return text(f"did {request.task}")
    return call("ipython", code=DEEPER.get(request.task, CHILD) if request.depth else ROOT)


@pytest.mark.parametrize("sandbox", ["off", "bwrap"])
def test_changes_of_children_and_grandchildren_in_worktrees_are_returned_as_patches(rlm: Make, sandbox: str) -> None:
    with Scripted(script) as server:
        command = rlm(server)
        work = command.cwd
        git(work, "init", "-q")
        (work / "sub").mkdir()
        for name in ("a.txt", "gone", "sub/b.txt"):
            (work / name).write_text("one\n")
        git(work, "add", "-A")
        git(work, "commit", "-qm", "one")
        (work / "a.txt").write_text("one\ndirty\n")
        done = command("go", "--sandbox", sandbox, "--max-depth", "2")
    lines = done.session.results[0].splitlines()
    assert lines[0] == " M a.txt | True | did one", "the parent's tree is as it was: " + done.err
    assert "isolation='vm' is not allowed" in lines[1]
    assert "/ is not in a git repository" in lines[2]
    assert (work / "a.txt").read_text() == "one\ndirty\nchild\n"
    assert not (work / "gone").exists()
    assert (work / "sub/by a sub-agent in the same copy").exists()
    assert "did go" in done.out
    places = [line for child in done.session.children for line in child.results if "Traceback" in line]
    assert places == []
