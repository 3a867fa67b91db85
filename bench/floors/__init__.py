"""Minimal programs that do the same work as rlm. Each is started by its path."""
