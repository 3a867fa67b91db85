"""A Ray cluster of two nodes on this machine. It runs in a Python that has ray, and reads commands from stdin.

    python ray_cluster.py

The first line on stdout is its address. `remove` removes the second node; the end of stdin ends the cluster.
"""

import sys


def main() -> None:
    from ray.cluster_utils import Cluster

    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    second = cluster.add_node(num_cpus=1)
    sys.stdout.write(f"{cluster.address}\n")
    sys.stdout.flush()
    for line in sys.stdin:
        if line.strip() == "remove":
            cluster.remove_node(second, allow_graceful=False)
    cluster.shutdown()


if __name__ == "__main__":
    main()
