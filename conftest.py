"""For all tests of the repository."""

from hypothesis import HealthCheck, settings

# A busy machine is no failure: how long an example takes decides nothing.
settings.register_profile("rlm", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("rlm")
