"""`@path` and `` $`name` `` in a message."""

from __future__ import annotations

from pathlib import Path

import pytest
from rlm.repl.mentions import LONGEST, attachments, variables


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "src").mkdir()
    (tmp_path / "src" / "a.py").write_text("print(1)\n")
    (tmp_path / "with blank.txt").write_text("blank")
    (tmp_path / "picture.png").write_bytes(b"\x89PNG\0\0")
    (tmp_path / "long.txt").write_text("x" * (LONGEST + 10))
    return tmp_path


@pytest.mark.parametrize(
    ("text", "paths"),
    [
        ("look at @src/a.py, please", ["src/a.py"]),
        ("(@src/a.py) and @src/a.py again", ["src/a.py"]),
        ('@"with blank.txt" and @src/a.py.', ["with blank.txt", "src/a.py"]),
        ("mail me@src/a.py or @nobody", []),
        ("@src/a.py @src/a.py", ["src/a.py"]),
    ],
)
def test_files_that_a_message_names(folder: Path, text: str, paths: list[str]) -> None:
    assert [str(each.path) for each in attachments(text, folder)] == paths


def test_mentioned_files_are_attached(folder: Path) -> None:
    blocks = {str(each.path): each.block() for each in attachments("@src/a.py @src @picture.png @long.txt", folder)}
    assert blocks["src/a.py"] == '<file path="src/a.py">\nprint(1)\n\n</file>'
    assert "a.py" in blocks["src"]
    assert "binary file of 6 bytes" in blocks["picture.png"]
    assert "10 characters left out; the full text is in long.txt" in blocks["long.txt"]


def test_expressions_that_a_message_names() -> None:
    assert variables("compare $`df.shape` and $`len(x)` and $`df.shape`, not $x or `y`") == ["df.shape", "len(x)"]


def test_a_link_out_of_the_folder_is_not_followed(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    secret = tmp_path_factory.mktemp("other") / "secret"
    secret.write_text("hidden")
    (folder / "inside").symlink_to("src/a.py")
    (folder / "outside").symlink_to(secret)
    inside, outside, named = attachments(f"@inside @outside @{secret}", folder)
    assert inside.text == "print(1)\n"
    assert "cannot be read" in outside.text
    assert named.text == "hidden", "a user may name any file"
