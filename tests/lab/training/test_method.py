"""make_method: what is reordered, how long a run is, and what does not fit together."""

import numpy as np
import pytest

from laperm_jax.lab.config import ConfigError
from tests.lab.training.helpers import CONV, small


@pytest.mark.nightly
def test_axes_of_kernels_and_with_permute_biases_of_biases_too():
    assert set(small().axes) == {"dense1/kernel", "output/kernel"}
    with_biases = {f"{layer}/{leaf}" for layer in ("dense1", "output") for leaf in ("kernel", "bias")}
    assert set(small(permute_biases=True).axes) == with_biases
    biases = {path for path in small(CONV, permute_biases=True).axes if "bias" in path}
    assert biases == {f"{layer}/bias" for layer in ("conv1", "conv2", "dense1", "dense2", "output")}  # not the norms'


def test_no_axes_without_a_sync_period():
    run = small(sync_period=None)
    assert not run.axes
    assert set(run.training.method.kernel_axes) == {"dense1/kernel", "output/kernel"}


def test_init_and_keep_make_the_initial_weights():
    params = small(init="shared:0.25", keep=(0.5, 0.1)).initial.variables.params
    for layer, share in (("dense1", 0.5), ("output", 0.1)):
        kernel = np.asarray(params[layer]["kernel"])
        assert set(np.unique(kernel)) == {0.0, 0.25}
        assert np.mean(kernel != 0) == pytest.approx(share, abs=0.1)


def test_total_steps():
    assert small().training.method.total_steps == 60 * 19
    assert small(epochs=2).training.method.total_steps == 38
    assert small(epochs=None, steps=25).training.method.total_steps == 25


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"validation_size": 1437}, "--validation-size is 1437; it must be less than the 1437 training images"),
        ({"batch_size": 1258}, "--batch-size is 1258; it must be at most the 1257 training examples"),
        ({"model": "conv2", "reestimate_batchnorm": 20}, "--reestimate-batchnorm is 20; there are 19 batches"),
        ({"model": "conv13"}, "conv13 does not fit images of 8 x 8 x 1"),
        ({"keep": (0.5, 0.5, 0.5)}, "--keep has 3 numbers; give one, or one for each of the 2 kernels"),
        ({"init": "foo"}, "--init is foo"),
        ({"reset_batchnorm": True}, "--reset-batchnorm is for networks with BatchNorm, and mlp has none"),
        ({"reestimate_batchnorm": 2}, "--reestimate-batchnorm is for networks with BatchNorm, and mlp has none"),
    ],
)
def test_settings_that_do_not_fit_together_are_refused(settings, message):
    with pytest.raises(ConfigError, match=message):
        small(**settings)
