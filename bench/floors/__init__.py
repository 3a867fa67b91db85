"""Minimal programs that do the same work as rlm, each started by its path."""
