"""draw_initial, transfer_order, and several seeds in one program."""

import jax
import numpy as np
import pytest

from laperm_jax.lab.config import ConfigError
from laperm_jax.lab.runs import weights
from laperm_jax.lab.training.seeds import draw_initial, transfer_order, unstack_seeds
from tests.lab.training.helpers import small


def test_draw_initial_depends_on_the_seed_only(mlp):
    kernels = [
        np.asarray(draw_initial(mlp.training.network, seed).variables.params["dense1"]["kernel"]) for seed in (0, 0, 1)
    ]
    np.testing.assert_array_equal(kernels[0], kernels[1])
    assert (kernels[0] != kernels[2]).mean() > 0.9


@pytest.mark.nightly
def test_seeds_side_by_side_train_as_they_do_alone():
    together, single = small(seeds=(0, 5)), {seed: small(seeds=(seed,)) for seed in (0, 5)}
    state, losses = together.updates(together.init_state(), 0, 9)
    assert state.opt_state.count.shape == ()
    for number, (member, alone) in enumerate(zip(unstack_seeds(state, 2), single.values(), strict=True)):
        state_alone, losses_alone = alone.updates(alone.init_state(), 0, 9)
        np.testing.assert_allclose(losses[:9, number], losses_alone[:9], rtol=1e-4)
        exact = together.training.reconnected_params(member.opt_state, member.params)
        assert together.exact_share(exact, number) == 1
        assert int(member.opt_state.count) == int(state_alone.opt_state.count) == 9
    assert not np.allclose(losses[:9, 0], losses[:9, 1])


def test_a_sync_of_stacked_seeds_stays_a_branch():
    together, zero = small(seeds=(0, 5)), np.int32(0)
    arguments = together.init_state(), together.training.task.train, together.order(), zero, zero
    text = together.run.lower(*arguments).as_text()
    assert "stablehlo.case" in text or "stablehlo.if" in text


def test_transfer_order_places_initial_values_by_the_ranks_of_trained_weights(mlp):
    rng = np.random.default_rng(0)
    trained = {
        path: rng.normal(size=array.shape).astype(np.float32)
        for path, array in weights.to_numpy(mlp.initial.variables.params).items()
    }
    placed = transfer_order(mlp.initial, trained, mlp.axes).variables.params
    before = weights.to_numpy(mlp.initial.variables.params)
    for path, array in weights.to_numpy(placed).items():
        if path in mlp.axes:
            np.testing.assert_array_equal(array.argsort(axis=0), trained[path].argsort(axis=0))
            np.testing.assert_array_equal(np.sort(array, axis=0), np.sort(before[path], axis=0))
        else:
            np.testing.assert_array_equal(array, trained[path])
    assert jax.tree.structure(placed) == jax.tree.structure(mlp.initial.variables.params)


def test_transfer_order_refuses_another_network(mlp):
    trained = weights.to_numpy(mlp.initial.variables.params)
    with pytest.raises(ConfigError, match=r"--start is a run of another network: it has no dense1/kernel of shape"):
        transfer_order(mlp.initial, trained | {"dense1/kernel": np.zeros((64, 24))}, mlp.axes)
    del trained["output/bias"]
    with pytest.raises(ConfigError, match=r"it has no output/bias of shape \(10,\)"):
        transfer_order(mlp.initial, trained, mlp.axes)
