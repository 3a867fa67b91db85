"""Diffs in a text are found; the texts are real output of git and difflib."""

from __future__ import annotations

from difflib import unified_diff
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st
from rlm.present.diffs import DiffLine, diff_lines, diff_summary, has_diff
from rlm_testkit.git import git

LINES = st.lists(st.sampled_from(["a", "b", "", "-- c", "++ d", "@@ -1 +1 @@", "\\ e", "diff --git x y"]), max_size=8)


def test_what_git_writes_is_counted_as_git_counts(tmp_path: Path) -> None:
    git(tmp_path, "init", "-q")
    texts = {
        "kept.sql": "-- one\n" + "x\n" * 40 + "last",
        "gone.py": "a\nb\n",
        "moved.txt": "same\n" * 9,
        "run.sh": "true\n",
    }
    for name, text in texts.items():
        (tmp_path / name).write_text(text)
    (tmp_path / "picture.png").write_bytes(b"\0\1")
    git(tmp_path, "add", "-A")
    git(tmp_path, "commit", "-qm", "first")
    (tmp_path / "kept.sql").write_text("++ two\n" + "x\n" * 40 + "last\n")
    (tmp_path / "gone.py").unlink()
    (tmp_path / "moved.txt").rename(tmp_path / "there.txt")
    (tmp_path / "picture.png").write_bytes(b"\0\2")
    (tmp_path / "run.sh").chmod(0o755)
    (tmp_path / "new.py").write_text("n = 1\n")
    git(tmp_path, "add", "-A")
    text = git(tmp_path, "-c", "diff.renames=true", "diff", "--cached")
    numbers = [
        line.split("\t")
        for line in git(tmp_path, "-c", "diff.renames=true", "diff", "--cached", "--numstat").splitlines()
    ]
    added, removed = (sum(int(row[side]) for row in numbers if row[side] != "-") for side in (0, 1))
    assert len(numbers) == 6
    assert diff_summary(f"$ git diff\n{text}- a list\n+ and its end\n") == f"diff: 6 files +{added} −{removed}"
    assert [line for kind, line in diff_lines(f"{text}- a list") if kind is DiffLine.NONE] == ["- a list"]


@settings(max_examples=300)
@given(LINES, LINES)
def test_what_difflib_writes_is_found_whatever_the_lines_look_like(old: list[str], new: list[str]) -> None:
    diff = list(unified_diff(old, new, "a", "b", lineterm=""))
    text = "\n".join(["before", *diff, "- after"])
    kinds = [kind for kind, _ in diff_lines(text)]
    if not diff:
        return
    signs = {" ": DiffLine.CONTEXT, "-": DiffLine.REMOVED, "+": DiffLine.ADDED, "@": DiffLine.HUNK}
    assert has_diff(text)
    assert kinds == [DiffLine.NONE] * 3 + [signs[line[0]] for line in diff[2:]] + [DiffLine.NONE]
    assert diff_summary(text) == f"diff: 1 file +{kinds.count(DiffLine.ADDED)} −{kinds.count(DiffLine.REMOVED)}"


def test_a_diff_that_is_cut_off_ends_there_and_a_list_is_not_a_diff() -> None:
    cut = "--- a\n+++ b\n@@ -1,9 +1,9 @@\n same\n-old\n[… 200 characters left out …]\n- not of it\n"
    assert diff_summary(cut) == "diff: 1 file +0 −1"
    assert diff_summary("--- a\n+++ b\n- one\n+ two\n") == ""
    assert diff_summary("") == ""
