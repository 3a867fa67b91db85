"""A box that bubblewrap (bwrap) builds around what the model writes: what is in it, and the processes that are it."""

from rlm.sandbox.box import Box
from rlm.sandbox.walls import Walls, build, tidied

__all__ = ["Box", "Walls", "build", "tidied"]
