"""Kernels: `JupyterKernel` runs an agent's cells, `Zygote` starts all kernels of a run."""

from rlm.kernel.manager import JupyterKernel
from rlm.kernel.server import Zygote
from rlm.kernel.spec import KernelSpec

__all__ = ["JupyterKernel", "KernelSpec", "Zygote"]
