"""The trainer: when weights are permutations, what an epoch is, evaluation, BatchNorm."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from laperm_jax import norm_reset
from laperm_jax._paths import leaves_by_path
from laperm_jax.lab.config import ConfigError, make_config, resolve, with_settings
from laperm_jax.lab.data import datasets
from laperm_jax.lab.runs import weights
from laperm_jax.lab.training.side_by_side import SideBySide
from laperm_jax.lab.training.trainer import Trainer

SMALL = resolve(make_config(widths=(16,), sync_period=4, learning_rate=2e-2))
CONV = with_settings(SMALL, model="conv2", batch_size=16, steps=8, epochs=None)


def make_trainer(**settings):
    return Trainer(with_settings(SMALL, **settings), datasets.load("digits"))


def run(trainer, state, start, stop, epoch=0):
    return trainer.run(state, trainer.train, trainer.shuffle(np.int32(epoch)), np.int32(start), np.int32(stop))


def exact_share(trainer, params):
    exact, total = weights.count_exact_vectors(
        weights.to_numpy(trainer.initial_params), weights.to_numpy(params), trainer.axes
    )
    return exact / total


@pytest.fixture(scope="module")
def trainer():
    return make_trainer()


@pytest.fixture(scope="module")
def conv_trainer():
    """Conv2 on digits: convolutions, BatchNorm, dropout."""
    return Trainer(CONV, datasets.load("digits"))


def test_after_a_sync_the_parameters_are_the_permutation_itself(trainer):
    state = trainer.init_state()
    shares = []
    for step in range(8):
        state, _ = run(trainer, state, step, step + 1)
        shares.append(exact_share(trainer, state.params))
        assert exact_share(trainer, trainer.reconnected_params(state.opt_state, state.params)) == 1
    assert shares[3] == shares[7] == 1
    assert max(shares[:3] + shares[4:7]) < 0.5


def test_an_epoch_in_pieces_is_the_epoch_in_one(trainer):
    whole, losses = run(trainer, trainer.init_state(), 0, 10)
    first, first_losses = run(trainer, trainer.init_state(), 0, 3)
    second, second_losses = run(trainer, first, 3, 10)
    np.testing.assert_array_equal(losses, first_losses + second_losses)
    for ours, theirs in zip(jax.tree.leaves(second), jax.tree.leaves(whole), strict=True):
        np.testing.assert_array_equal(ours, theirs)
    assert int(whole.opt_state.count) == 10
    assert (np.asarray(losses)[:10] > 0).all()
    assert not np.asarray(losses)[10:].any()


def test_redraw_trains_the_same_weights_without_a_copy(trainer):
    redraw = make_trainer(redraw=True)
    assert not jax.tree.leaves(redraw.init_state().opt_state.sorted_init)
    (kept, _), (drawn, _) = (run(trainer, trainer.init_state(), 0, 9) for trainer in (trainer, redraw))
    for ours, theirs in zip(jax.tree.leaves(drawn.params), jax.tree.leaves(kept.params), strict=True):
        np.testing.assert_array_equal(ours, theirs)
    assert exact_share(redraw, redraw.reconnected_params(drawn.opt_state, drawn.params)) == 1


def test_seeds_side_by_side(trainer):
    """Each has its own weights, order and exact vectors, and a sync stays a branch of the program."""
    trainers = [trainer, trainer.with_seed(5)]
    together = SideBySide(trainers)
    state, losses = run(together, together.init_state(), 0, 9)
    assert state.opt_state.count.shape == ()
    for number, (member, single) in enumerate(zip(together.members(state), trainers, strict=True)):
        alone, alone_losses = run(single, single.init_state(), 0, 9)
        np.testing.assert_allclose(losses[:9, number], alone_losses[:9], rtol=1e-4)
        exact = single.reconnected_params(member.opt_state, member.params)
        assert exact_share(single, exact) == 1
        assert int(member.opt_state.count) == int(alone.opt_state.count) == 9
    assert not np.allclose(losses[:9, 0], losses[:9, 1])
    zero = np.int32(0)
    text = together.run.lower(state, together.train, together.shuffle(zero), zero, zero).as_text()
    assert "stablehlo.case" in text or "stablehlo.if" in text


def test_training_lowers_the_loss(trainer):
    _, losses = run(trainer, trainer.init_state(), 0, trainer.steps_per_epoch)
    assert losses[-3:].mean() < 0.7 * losses[:3].mean()


def test_an_epoch_shows_each_image_once_in_an_order_of_its_own(trainer):
    orders = [np.asarray(trainer.shuffle(np.int32(epoch))) for epoch in (0, 1, 0)]
    assert orders[0].shape == (trainer.steps_per_epoch, SMALL.batch_size) == (19, 64)
    assert len(np.unique(orders[0])) == orders[0].size
    assert (orders[0] != orders[1]).mean() > 0.9
    np.testing.assert_array_equal(orders[0], orders[2])


def test_the_seed_decides_everything(trainer):
    kernels = [
        np.asarray(run(each, each.init_state(), 0, 2)[0].params["dense1"]["kernel"])
        for each in (trainer, make_trainer(), make_trainer(seed=1))
    ]
    np.testing.assert_array_equal(kernels[0], kernels[1])
    assert (kernels[0] != kernels[2]).mean() > 0.9


def test_it_stops_at_a_loss_that_is_not_finite():
    trainer = make_trainer(inner="sgd", learning_rate=1e30, schedule="constant")
    state, losses = run(trainer, trainer.init_state(), 0, 10)
    bad = np.flatnonzero(~np.isfinite(losses))
    assert len(bad) == 1
    assert int(state.opt_state.count) == bad[0] + 1
    assert not np.asarray(losses)[bad[0] + 1 :].any()


def test_accuracy_counts_each_image_once_and_no_padding(trainer):
    params = trainer.initial_params
    digits = datasets.load("digits")
    hidden = jax.nn.relu(digits.test.images.reshape(360, 64) / 16 @ params["dense1"]["kernel"])
    predictions = np.argmax(hidden @ params["output"]["kernel"], axis=1)
    assert len(trainer.test.targets) == 400
    assert trainer.score(params, {}, trainer.test) == np.mean(predictions == digits.test.labels)


def test_what_is_reordered():
    assert set(make_trainer().axes) == {"dense1/kernel", "output/kernel"}
    with_biases = {f"{layer}/{leaf}" for layer in ("dense1", "output") for leaf in ("kernel", "bias")}
    assert set(make_trainer(permute_biases=True).axes) == with_biases
    biases = {
        path
        for path in Trainer(with_settings(CONV, permute_biases=True), datasets.load("digits")).axes
        if "bias" in path
    }
    assert biases == {f"{layer}/bias" for layer in ("conv1", "conv2", "dense1", "dense2", "output")}  # not the norms'


def test_keep_and_init_make_the_initial_weights():
    params = make_trainer(init="shared:0.25", keep=(0.5, 0.1)).initial_params
    for layer, share in (("dense1", 0.5), ("output", 0.1)):
        kernel = np.asarray(params[layer]["kernel"])
        assert set(np.unique(kernel)) == {0.0, 0.25}
        assert np.mean(kernel != 0) == pytest.approx(share, abs=0.1)


def test_l2_adds_the_squares_of_all_kernels_but_the_last():
    plain, penalised = make_trainer(), make_trainer(l2=0.1)
    (_, loss), (_, loss_l2) = (run(each, each.init_state(), 0, 1) for each in (plain, penalised))
    expected = 0.1 * np.sum(np.square(plain.initial_params["dense1"]["kernel"]))
    assert float(loss_l2[0] - loss[0]) == pytest.approx(expected, rel=1e-4)


def test_batchnorm_statistics_follow_the_batches(conv_trainer):
    state = conv_trainer.init_state()
    before = {path: np.asarray(leaf) for path, leaf in leaves_by_path(state.batch_stats).items()}
    state, _ = run(conv_trainer, state, 0, 1)
    after = {path: np.asarray(leaf) for path, leaf in leaves_by_path(state.batch_stats).items()}
    assert before.keys() == after.keys()
    assert all((before[path] != after[path]).any() for path in before)


def test_reestimated_statistics_are_those_of_the_batches(conv_trainer):
    state = conv_trainer.init_state()
    assert conv_trainer.reestimated(state.params, state.batch_stats) is state.batch_stats
    trainer = Trainer(with_settings(CONV, reestimate_batchnorm=3), datasets.load("digits"))
    stats = trainer.reestimated(state.params, state.batch_stats)
    assert jax.tree.structure(stats) == jax.tree.structure(state.batch_stats)
    # The first BatchNorm follows a convolution and ReLU: its statistics can be had without the network.
    order = jax.random.permutation(trainer._order_key, len(trainer.train.targets))[:48].reshape(3, 16)
    conv = state.params["conv1"]
    images = jnp.asarray(trainer.train.inputs, jnp.float32)  # conv2 takes raw pixels
    activations = jax.lax.map(
        lambda batch: nnx.relu(
            jax.lax.conv_general_dilated(
                images[batch], conv["kernel"], (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")
            )
            + conv["bias"]
        ),
        order,
    )
    np.testing.assert_allclose(stats["norm1"]["mean"], activations.mean(axis=(0, 1, 2, 3)), rtol=1e-3)
    np.testing.assert_allclose(stats["norm1"]["var"], activations.var(axis=(1, 2, 3)).mean(axis=0), rtol=1e-3)


def test_reset_batchnorm_at_each_sync():
    trainer = Trainer(with_settings(CONV, reset_batchnorm=True), datasets.load("digits"))
    state = trainer.init_state()
    scales = []
    for step in range(5):
        state, _ = run(trainer, state, step, step + 1)
        scales.append(np.asarray(state.params["norm1"]["scale"]))
    np.testing.assert_array_equal(scales[3], 1)
    assert all((scales[step] != 1).any() for step in (0, 1, 2, 4))
    assert set(norm_reset(state.params)) == {f"norm{n}/{leaf}" for n in range(1, 5) for leaf in ("scale", "bias")}


def test_augment_runs_in_the_step():
    plain, augmented = make_trainer(), make_trainer(augment=True)
    (_, loss), (_, augmented_loss) = (run(each, each.init_state(), 0, 1) for each in (plain, augmented))
    assert loss[0] != augmented_loss[0]


def test_preprocessing():
    dataset = datasets.load("digits")
    images = dataset.test.images[:3]
    np.testing.assert_allclose(make_trainer().task.preprocess(images), images / 16, rtol=1e-6)
    np.testing.assert_array_equal(Trainer(CONV, dataset).task.preprocess(images), images)
    cifar_like = datasets.Dataset(
        *(
            datasets.Split(np.random.default_rng(n).integers(0, 256, (n, 32, 32, 3), np.uint8), np.zeros(n, np.int32))
            for n in (300, 100)
        ),
        max_pixel=255,
    )
    resnet = Trainer(with_settings(SMALL, model="resnet50", init="shared:0.1", batch_size=50), cifar_like)
    scaled = cifar_like.train.images / 255
    np.testing.assert_allclose(resnet.task.preprocess(cifar_like.train.images), scaled - scaled.mean(axis=0), atol=1e-5)


def test_total_steps():
    assert make_trainer().total_steps == 60 * 19
    assert make_trainer(epochs=2).total_steps == 38
    assert make_trainer(epochs=None, steps=25).total_steps == 25


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
def test_what_does_not_fit_together_is_refused(settings, message):
    with pytest.raises(ConfigError, match=message):
        make_trainer(**settings)
