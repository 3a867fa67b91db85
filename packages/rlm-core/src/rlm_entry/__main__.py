"""`python -m rlm_entry`: the command `rlm`, where its name may not be on PATH."""

from __future__ import annotations

from rlm_entry import main

main()
