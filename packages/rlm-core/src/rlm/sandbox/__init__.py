"""The sandbox for the model's code, created with bubblewrap (bwrap): its policy, its processes, its inspection."""

from rlm.sandbox.inspection import Inspection, open_inspection
from rlm.sandbox.policy import SandboxPolicy, open_policy
from rlm.sandbox.sandbox import Sandbox
from rlm.sandbox.sealed import sealed_copy

__all__ = ["Inspection", "Sandbox", "SandboxPolicy", "open_inspection", "open_policy", "sealed_copy"]
