"""Settings of every test: eight devices to shard over, and Hypothesis without deadlines."""

import json
import os

os.environ.setdefault("JAX_PLATFORMS", "cpu")

import hypothesis
import jax
import pytest

jax.config.update("jax_num_cpu_devices", 8)

hypothesis.settings.register_profile("default", max_examples=100, deadline=None)
hypothesis.settings.register_profile("nightly", max_examples=2000, deadline=None)
hypothesis.settings.load_profile("default")


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
