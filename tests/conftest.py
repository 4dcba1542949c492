"""Settings of every test: one device or eight, cheap compilation, Hypothesis without deadlines, nightly's time."""

import gc
import json
import os
import time

os.environ.setdefault("JAX_PLATFORMS", "cpu")
os.environ.setdefault("JAX_DISABLE_MOST_OPTIMIZATIONS", "1")  # compiling is most of what tests do: three times faster

import hypothesis
import jax
import pytest

gc.set_threshold(
    100_000
)  # a process of tests keeps many programs: to look through them often costs a tenth of the time
DEVICES = int(os.environ.get("LAPERM_TEST_DEVICES", "8"))
jax.config.update("jax_num_cpu_devices", DEVICES)

hypothesis.settings.register_profile("default", max_examples=15, deadline=None, derandomize=True)
hypothesis.settings.register_profile("nightly", max_examples=30, deadline=None)
hypothesis.settings.register_profile("thorough", max_examples=2000, deadline=None)
hypothesis.settings.load_profile("default")

_DEADLINE = time.monotonic() + float(os.environ.get("LAPERM_NIGHTLY_SECONDS", "inf"))


def pytest_runtest_setup(item):
    """Skips tests that need more devices than there are, and nightly ones that would start after their time is up."""
    if item.get_closest_marker("eight_devices") and DEVICES < 8:
        pytest.skip("needs eight devices")
    if item.get_closest_marker("nightly") and time.monotonic() > _DEADLINE:
        pytest.skip("the time for nightly tests is up")


@pytest.fixture(autouse=True)
def _optimized(request):
    """Compiles as users do where a test is marked ``optimized``: it reads compiled programs, or compares rounding."""
    if not request.node.get_closest_marker("optimized") or not jax.config.read("jax_disable_most_optimizations"):
        yield
        return
    jax.clear_caches()
    jax.config.update("jax_disable_most_optimizations", False)
    yield
    jax.config.update("jax_disable_most_optimizations", True)
    jax.clear_caches()


@pytest.fixture
def record_fault(record_property):
    """Notes what was tried on a run and what became of it, for the table in docs/reliability.md.

    Of the faults tried, some are survived, to the end and to the bits of a run without them but for ``bits_lost``; the
    others are to be refused, with a sentence.
    """

    def record(fault, tried, survived=0, bits_lost=0, refused=0):
        counts = {"tried": tried, "survived": survived, "refused": refused, "bits_lost": bits_lost}
        record_property("fault", json.dumps({"fault": fault, **counts}))
        assert survived + refused == tried
        assert bits_lost == 0

    return record


@pytest.fixture
def strict():
    """No implicit promotion of dtypes or ranks: for tests of our own code alone, since Optax and Flax need some."""
    with jax.numpy_dtype_promotion("strict"), jax.numpy_rank_promotion("raise"):
        yield
