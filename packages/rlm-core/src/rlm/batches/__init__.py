"""Many tasks, here or on a cluster: `rlm batch`, and `rlm.batch` for programs.

The package is called `batches` because `rlm.batch` is a function.
"""
