"""Tasks: what an epoch goes through, what is predicted, and that each target counts once."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from laperm_jax.lab.config import DEFAULTS, ConfigError, resolve, with_settings
from laperm_jax.lab.data import datasets, tasks
from laperm_jax.lab.data.datasets import Text

CONFIG = with_settings(DEFAULTS["language"], context=5)
VOCABULARY = b"abcdefgh"
TEXT = Text(*(np.arange(size, dtype=np.uint8) % 8 for size in (64, 12, 503)), VOCABULARY)


@pytest.fixture(scope="module")
def language():
    return tasks.make(CONFIG, TEXT)


def test_pieces_of_an_epoch_lie_side_by_side_in_the_text_and_elsewhere_in_the_next(language):
    orders = [np.asarray(language.order(jax.random.key(seed))) for seed in range(40)]
    for order in orders:
        assert len(order) == language.examples == 11
        assert set(np.diff(np.sort(order))) == {5}
        assert 0 <= order.min() < 5
        assert order.max() + 5 + 1 <= 64  # with the character after it
    assert {int(order.min()) for order in orders} == set(range(5))
    assert (orders[0] != np.sort(orders[0])).any()


def test_targets_are_the_next_characters(language):
    batch = language.take(language.train, jnp.array([0, 7, 58]))
    assert batch.inputs.tolist() == [[0, 1, 2, 3, 4], [7, 0, 1, 2, 3], [2, 3, 4, 5, 6]]
    assert batch.targets.tolist() == [[1, 2, 3, 4, 5], [0, 1, 2, 3, 4], [3, 4, 5, 6, 7]]


@pytest.mark.parametrize(("part", "size"), [("validation", 12), ("test", 503)])
def test_every_character_but_the_first_is_predicted_once(language, part, size):
    inputs, targets = getattr(language, part)
    assert len(inputs) % language.evaluation_batch == 0
    counted = np.asarray(targets) >= 0
    np.testing.assert_array_equal(np.asarray(targets)[counted], np.arange(1, size) % 8)
    np.testing.assert_array_equal(np.asarray(inputs)[counted], np.arange(size - 1) % 8)


def test_the_loss_is_the_cross_entropy_in_nats_a_character(language):
    targets = jnp.array([[1, 2, -1], [-1, -1, 0]])
    uniform = jnp.zeros((2, 3, 8))
    total, count = language.measure(uniform, targets)
    assert int(count) == 3
    assert float(total) == pytest.approx(3 * np.log(8))
    sure = 100 * jax.nn.one_hot(targets, 8)
    assert float(language.measure(sure, targets)[0]) == pytest.approx(0, abs=1e-5)
    assert float(language.loss(uniform, jnp.abs(targets))) == pytest.approx(np.log(8))


def test_a_text_too_short_for_the_context_is_refused():
    with pytest.raises(ConfigError, match="--context is 40; there are 64 characters to train on, and two pieces"):
        tasks.make(with_settings(CONFIG, context=40), TEXT)


def test_regression_measures_squared_errors():
    regression = tasks.make(DEFAULTS["regression"], datasets.load("sine"))
    outputs, targets = jnp.array([[1.0], [2.0]]), jnp.array([[0.0], [4.0]])
    assert float(regression.loss(outputs, targets)) == 2.5
    assert [float(x) for x in regression.measure(outputs, targets)] == [5.0, 2.0]


def test_preprocess_scales_pixels_as_the_paper_does_for_the_network():
    digits = datasets.load("digits")
    images, config = digits.test.images[:3], resolve(DEFAULTS["classification"])
    make = lambda dataset, model: tasks.make(with_settings(config, model=model), dataset)
    np.testing.assert_allclose(make(digits, "mlp").preprocess(images), images / 16, rtol=1e-6)
    np.testing.assert_array_equal(make(digits, "conv2").preprocess(images), images)
    rng, labels = np.random.default_rng(0), np.zeros(300, np.int32)
    split = datasets.Split(rng.integers(0, 256, (300, 32, 32, 3), np.uint8), labels)
    scaled = split.images / 255
    resnet50 = make(datasets.Dataset(split, split, max_pixel=255), "resnet50")
    np.testing.assert_allclose(resnet50.preprocess(split.images), scaled - scaled.mean(axis=0), atol=1e-5)


@pytest.mark.parametrize(
    ("name", "chance", "better"),
    [("digits", (0.1, 0.14), 0.5), ("text", (np.log(8), 3.0), 2.0), ("sine", (0.52, 1.0), 0.1)],
)
def test_at_chance_compares_with_the_best_constant_answer(name, chance, better):
    config = resolve(DEFAULTS["classification"]) if name == "digits" else CONFIG
    task = tasks.make(config, Text(*[TEXT.test] * 3, VOCABULARY) if name == "text" else datasets.load(name))
    assert all(task.at_chance(score) for score in chance)
    assert not task.at_chance(better)


@pytest.mark.parametrize(
    ("name", "better", "worse", "text"),
    [("sine", 0.1, 0.2, "0.1000"), ("digits", 0.2, 0.1, "20.00%"), ("text", 0.1, 0.2, "0.1000")],
)
def test_which_score_is_better(name, better, worse, text):
    config = with_settings(DEFAULTS["classification"], validation_size=180) if name == "digits" else CONFIG
    task = tasks.make(config, TEXT if name == "text" else datasets.load(name))
    assert task.is_better(better, worse)
    assert not task.is_better(worse, better)
    assert not task.is_better(better, better)
    assert task.format_score(better) == text
