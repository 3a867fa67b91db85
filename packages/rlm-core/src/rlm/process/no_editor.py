"""EDITOR of programs that run without a user: a real editor would wait for input until the time limit."""

import sys

sys.exit(
    "No editor is available: this program runs without a user. Give the text on the command line (git commit -m TEXT, "
    "git commit --no-edit), or set EDITOR or GIT_EDITOR to a command that edits the file by itself."
)
