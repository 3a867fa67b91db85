"""The test fixture."""
