"""A plain fork of a process with IPython and ipykernel imported: seconds until the child has started and ended.

python fork.py TIMES
"""

from __future__ import annotations

import gc
import json
import os
import sys
import time
from statistics import median

import ipykernel.kernelapp  # noqa: F401 - this import makes the process warm
import IPython  # noqa: F401


def main() -> None:
    gc.freeze()
    took = []
    for _ in range(int(sys.argv[1])):
        began = time.monotonic()
        child = os.fork()
        if child == 0:
            os._exit(0)
        os.waitpid(child, 0)
        took.append(time.monotonic() - began)
    sys.stdout.write(json.dumps({"fork": median(took)}))


if __name__ == "__main__":
    main()
