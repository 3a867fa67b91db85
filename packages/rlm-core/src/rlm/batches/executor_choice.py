"""Chooses an executor by its name."""

from __future__ import annotations

import socket
from importlib.util import find_spec

from rlm.batches.executors import Executor, HereExecutor
from rlm.batches.work import BatchSettings
from rlm.errors import ConfigError

_REACHED = 10.0  # seconds for a connection to a cluster


def check_executor(wanted: str, address: str = "") -> None:
    """
    Raises:
        ConfigError: it is not installed, or no cluster listens at this address.
    """
    if wanted != "ray":
        return
    _check_address(address)
    if find_spec("ray") is None:
        raise ConfigError("`--executor ray` needs ray: install rlm with its extra `ray`.")


def _check_address(address: str) -> None:
    """Connect to HOST:PORT once. Ray itself would try for a quarter of an hour."""
    if "://" in address:
        raise ConfigError(
            f"--address {address} is for Ray's client. Name the cluster itself: HOST:PORT, most often 6379."
        )
    host, _, port = address.rpartition(":")
    if not (host and port.isdecimal()):
        return  # `auto`, for one
    try:
        socket.create_connection((host.strip("[]"), int(port)), _REACHED).close()
    except (OSError, OverflowError) as error:
        raise ConfigError(
            f"The Ray cluster {address} cannot be reached: {getattr(error, 'strerror', None) or error}."
        ) from None


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
        check_executor(wanted, address)
        from rlm.batches.ray_executor import RayExecutor

        return RayExecutor(settings, concurrency, address)
    raise ConfigError(f"There is no executor {wanted!r}. There are: here, ray.")
