"""One plain ipykernel: seconds from the start to the first reply, and seconds per round trip of `1+1`.

python kernel.py ROUND_TRIPS
"""

from __future__ import annotations

import json
import sys
import time
from statistics import median

from bench.floors.driver import Kernel


def main() -> None:
    began = time.monotonic()
    kernel = Kernel()
    kernel.run("1+1")
    cold = time.monotonic() - began
    trips = []
    for _ in range(int(sys.argv[1])):
        began = time.monotonic()
        kernel.run("1+1")
        trips.append(time.monotonic() - began)
    kernel.kill()
    sys.stdout.write(json.dumps({"cold": cold, "round trip": median(trips)}))


if __name__ == "__main__":
    main()
