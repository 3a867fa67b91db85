"""What a process gets from its parent without asking, and cannot work with."""

from __future__ import annotations

import signal


def reset_signals() -> None:
    """Blocked signals, and an ignored SIGCHLD, survive exec: srun and mpirun start tasks with SIGCHLD blocked.

    With either, the end of a child is never noticed, or its exit code is lost. SIGHUP and SIGINT stay ignored if they
    are: nohup and `&` mean it.
    """
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    if signal.getsignal(signal.SIGCHLD) is signal.SIG_IGN:
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
