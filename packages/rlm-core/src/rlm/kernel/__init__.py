"""Kernels: `JupyterKernel` runs an agent's cells, `KernelServer` starts all kernels of a run."""

from rlm.kernel.launch import KernelSpec
from rlm.kernel.manager import JupyterKernel
from rlm.kernel.server import KernelServer

__all__ = ["JupyterKernel", "KernelServer", "KernelSpec"]
