"""The benchmarks that the README quotes: `uv run python -m bench --help`.

Each scenario runs rlm against a scripted server on loopback and, in turn with it, minimal programs that do the same
work: the floors. The quoted values are a median, its spread, and the ratio to a floor of the same session. The speed of
a machine drifts, so the ratios are more reliable than the seconds.
"""
