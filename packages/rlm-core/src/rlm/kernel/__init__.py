"""Kernels: `JupyterKernel` runs an agent's cells, `Zygote` starts all kernels of a run."""

from rlm.kernel.client import JupyterKernel
from rlm.kernel.provisioner import Zygote
from rlm.kernel.spec import KernelSpec

__all__ = ["JupyterKernel", "KernelSpec", "Zygote"]
