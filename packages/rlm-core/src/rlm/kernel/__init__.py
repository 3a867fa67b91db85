"""Kernels: `JupyterKernel` runs an agent's cells, `KernelServer` starts all kernels of a run."""

from rlm.kernel.manager import JupyterKernel
from rlm.kernel.server import KernelServer
from rlm.kernel.spec import KernelSpec

__all__ = ["JupyterKernel", "KernelServer", "KernelSpec"]
