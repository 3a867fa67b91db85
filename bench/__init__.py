"""The benchmarks that the README quotes: `uv run python -m bench --help`.

Each scenario runs rlm against a scripted server on loopback and, in turn with it, minimal programs that do the same
work: the floors. What is quoted is a median, its spread, and the ratio to a floor of the same session. A machine's own
speed drifts, so the ratios say more than the seconds do.
"""
