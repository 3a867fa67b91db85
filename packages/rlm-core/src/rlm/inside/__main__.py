"""`python -P -m rlm.inside ORDER`: a kernel in a process of its own."""

from __future__ import annotations

import sys

from rlm.inside.kernel import build, serve
from rlm.inside.launch import read_launch

if __name__ == "__main__":
    serve(build(), read_launch(sys.argv[1]), f"{sys.argv[1]}.d")
