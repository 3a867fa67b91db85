"""A Ray cluster of two nodes on this machine. It runs in a Python that has ray, and reads commands from stdin.

    python ray_cluster.py

The first line on stdout is its address. `remove` removes the second node; the end of stdin ends the cluster.
"""

import os
import sys

SMALLEST = 80_000_000
"""Bytes of an object store: Ray takes no less than 75 MiB."""


def main() -> None:
    from ray.cluster_utils import Cluster

    # In its own folder, for /dev/shm may be small. What the nodes could do besides is not needed, and takes seconds.
    node = {
        "num_cpus": 1,
        "object_store_memory": SMALLEST,
        "plasma_directory": os.environ["RAY_TMPDIR"],
        "include_log_monitor": False,
    }
    cluster = Cluster(initialize_head=True, head_node_args={**node, "include_dashboard": False, "no_monitor": True})
    second = cluster.add_node(**node)
    sys.stdout.write(f"{cluster.address}\n")
    sys.stdout.flush()
    for line in sys.stdin:
        if line.strip() == "remove":
            cluster.remove_node(second, allow_graceful=False)
    cluster.shutdown()


if __name__ == "__main__":
    main()
