"""Chooses an executor by its name."""

from __future__ import annotations

from importlib.util import find_spec

from rlm.batches.executors import Executor, HereExecutor
from rlm.batches.work import BatchSettings
from rlm.errors import ConfigError


def check_executor(wanted: str) -> None:
    """
    Raises:
        ConfigError: the executor is not installed.
    """
    if wanted == "ray" and find_spec("ray") is None:
        raise ConfigError("`--executor ray` needs ray: install rlm with its extra `ray`.")


def executor_for(wanted: str | Executor, settings: BatchSettings, concurrency: int, address: str = "") -> Executor:
    """Return the executor with this name. `address` is the address of a Ray cluster; empty: a cluster is started here.

    Raises:
        ConfigError: there is no such executor, or it is not installed.
    """
    if concurrency < 1:
        raise ConfigError(f"{concurrency} tasks at once are not allowed: it takes a whole number, at least 1.")
    if not isinstance(wanted, str):
        return wanted
    if wanted == "here":
        return HereExecutor(settings, concurrency)
    if wanted == "ray":
        from rlm.batches.ray_executor import RayExecutor

        return RayExecutor(settings, concurrency, address)
    raise ConfigError(f"There is no executor {wanted!r}. There are: here, ray.")
