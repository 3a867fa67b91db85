"""Shared by tests, benchmarks and the documentation: a scripted provider, fakes, drivers of real programs."""
