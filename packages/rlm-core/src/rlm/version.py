"""The version of the distributions (a test compares them). Reading their metadata instead would take 20 ms."""

VERSION = "0.1.0"
