"""`python -P -m rlm.inside LAUNCH_FILE`: run a kernel in a new process, without a zygote."""

from __future__ import annotations

import sys

from rlm.inside.kernel import build, serve
from rlm.inside.launch import read_launch

if __name__ == "__main__":
    serve(build(), read_launch(sys.argv[1]), f"{sys.argv[1]}.d")
