"""A box that bubblewrap (bwrap) builds around what the model writes: what is in it, and the processes that are it."""

from rlm.sandbox.inspection import Inspection, open_inspection
from rlm.sandbox.policy import SandboxPolicy, open_policy
from rlm.sandbox.sandbox import Box
from rlm.sandbox.sealed import sealed_copy

__all__ = ["Box", "Inspection", "SandboxPolicy", "open_inspection", "open_policy", "sealed_copy"]
