"""Only the model requests of sub-agents: `CALLS` sequential requests each, `WORKERS` sub-agents at once.

python posts.py URL CHILDREN CALLS WORKERS
"""

from __future__ import annotations

import http.client
import json
import sys
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import urlsplit


def main(url: str, children: int, calls: int, workers: int) -> None:
    parts = urlsplit(url)

    def child(_: int) -> int:
        connection = http.client.HTTPConnection(parts.hostname or "", parts.port)
        for turn in range(calls):
            body = {"messages": [{"role": "assistant", "content": ""}] * turn}
            connection.request("POST", f"{parts.path}/chat/completions", json.dumps(body), {"X-RLM-Depth": "1"})
            response = connection.getresponse()
            response.read()
            assert response.status == 200, response.status
        return 1

    with ThreadPoolExecutor(workers) as pool:
        print(sum(pool.map(child, range(children))))


if __name__ == "__main__":
    main(sys.argv[1], *map(int, sys.argv[2:]))
