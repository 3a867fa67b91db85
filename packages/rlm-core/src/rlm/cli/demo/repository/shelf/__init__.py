"""Helpers of a library's catalogue."""
