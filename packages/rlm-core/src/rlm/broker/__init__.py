"""Sub-agents for the kernel: who may start one, how many, and the socket by which a cell asks."""
