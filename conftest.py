"""For all tests of the repository."""

import signal

from hypothesis import HealthCheck, settings

pytest_plugins = ["rlm_testkit.attack_table"]

# A busy machine is no failure: how long an example takes decides nothing.
settings.register_profile("rlm", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("few", parent=settings.get_profile("rlm"), max_examples=20)  # where others run them in full
settings.load_profile("rlm")

# A shell without job control starts what it puts in the background with Ctrl-C ignored, and that is inherited.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
