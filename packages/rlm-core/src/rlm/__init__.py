"""rlm: a coding agent whose one limb is a notebook."""

# rlm-skill adds rlm.skill to this package from a distribution of its own.
__path__ = __import__("pkgutil").extend_path(__path__, __name__)
