"""A sandbox for the code of the model, made by bubblewrap (bwrap): what is in it, and the processes that hold it."""

from rlm.sandbox.inspection import Inspection, open_inspection
from rlm.sandbox.policy import SandboxPolicy, open_policy
from rlm.sandbox.sandbox import Sandbox
from rlm.sandbox.sealed import sealed_copy

__all__ = ["Inspection", "Sandbox", "SandboxPolicy", "open_inspection", "open_policy", "sealed_copy"]
