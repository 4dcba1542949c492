"""Settings of every test: eight devices to shard over, and Hypothesis without deadlines."""

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
def strict():
    """No implicit promotion of dtypes or ranks: for tests of our own code alone, since Optax and Flax need some."""
    with jax.numpy_dtype_promotion("strict"), jax.numpy_rank_promotion("raise"):
        yield
