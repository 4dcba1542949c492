"""pack and unpack: exact, near the entropy, and read by another decoder."""

import math
import sys

import jax.numpy as jnp
import numpy as np
import pytest

from laperm_jax import codec, flax_fan_in
from laperm_jax.initializers import Recipe
from tests.codec import decoder
from tests.codec.files import RECIPES, assert_same, permuted


def test_unpack_returns_what_was_packed(network, file):
    assert_same(codec.unpack(file), network)
    assert codec.metadata(file) == {"model": "toy"}


def test_an_independent_decoder_reads_the_file(network, file):
    assert_same(decoder.decode(file), network)
    assert_same(decoder.decode(codec.pack(network, RECIPES, flax_fan_in, store_values=True)), network)


def test_pack_takes_a_nested_tree(network):
    tree = {}
    for path, array in network.items():
        module, name = path.split("/")
        tree.setdefault(module, {})[name] = array
    assert_same(codec.unpack(codec.pack(tree, RECIPES, flax_fan_in)), dict(sorted(network.items())))


def test_scalars_and_empty_arrays():
    recipe = Recipe("normal", args=(1.0,), key=(0, 0))
    network = {"empty/kernel": np.zeros((0, 3), np.float32), "scalar/scale": recipe.draw((), jnp.float32)}
    file = codec.pack(network, dict.fromkeys(network, recipe), {"empty/kernel": (0,), "scalar/scale": ()})
    assert_same(codec.unpack(file), network)
    assert_same(decoder.decode(file), network)


def test_recipes_with_scalars_of_numpy_and_jax():
    plain = Recipe("levels", args=(2, 0.5), keep=0.5, key=(0, 7), rescale=True)
    key = tuple(np.array([0, 7], np.uint32))
    of_numpy = Recipe("levels", (np.int64(2), np.float32(0.5)), np.float32(0.5), key, rescale=np.bool_(True))
    kernel = plain.draw((8, 3), jnp.float32)
    files = [codec.pack({"kernel": kernel}, {"kernel": recipe}) for recipe in (plain, of_numpy)]
    assert files[0] == files[1]


def test_entropy():
    log2_factorial = lambda n: math.lgamma(n + 1) / math.log(2)
    values = np.array([[0.0, 0.1, 0.0], [0.0, 0.2, 0.5], [1.0, 0.3, 0.5], [2.0, 0.4, 0.5]])
    expected = 2 * log2_factorial(4) - log2_factorial(2) + math.log2(4)
    assert codec.entropy(values, axes=(0,)) == pytest.approx(expected)
    assert codec.entropy(values.T, axes=(1,)) == pytest.approx(expected)
    assert codec.entropy(np.array([[0.0], [-0.0]]), axes=(0,)) == 1  # two values, since they are two bit patterns


@pytest.mark.nightly
@pytest.mark.parametrize(
    "recipe",
    [
        Recipe("he_uniform", key=(0, 1)),
        Recipe("he_uniform", keep=0.3, key=(0, 1)),
        Recipe("he_uniform", keep=0.9, key=(0, 1)),
        Recipe("shared_value", args=(0.08,), keep=4 / 7, key=(0, 1)),
        Recipe("shared_value", args=(0.08,), key=(0, 1)),
        *(Recipe("levels", args=(number,), key=(0, 1)) for number in (2, 3, 4, 16, 50, 100)),
        Recipe("levels", args=(65,), keep=0.5, key=(0, 1)),
    ],
    ids=lambda recipe: f"{recipe.initializer}{recipe.args}-{recipe.keep:.1f}",
)
def test_pack_is_near_the_entropy(recipe):
    kernel = permuted(np.random.default_rng(0), recipe.draw((3, 3, 12, 60), jnp.float32))
    file = codec.pack({"kernel": kernel}, {"kernel": recipe})
    bound = codec.entropy(kernel, axes=(0, 1, 2)) / 8
    assert bound - 8 <= codec.permutation_bytes(file)["kernel"] <= 1.005 * bound + 8
    assert len(file) <= codec.permutation_bytes(file)["kernel"] + 400


@pytest.mark.nightly
@pytest.mark.parametrize(("number", "largest"), [(2, 36_000), pytest.param(3, 56_000, marks=pytest.mark.nightly)])
def test_pack_of_an_mlp_with_few_levels(number, largest):
    """The network of the experiment on bits: 784-256-256-10, with float32 biases."""
    rng, shapes = np.random.default_rng(0), {"dense1": (784, 256), "dense2": (256, 256), "output": (256, 10)}
    recipes = {f"{name}/kernel": Recipe("levels", args=(number,), key=(0, i)) for i, name in enumerate(shapes)}
    kernels = {f"{name}/kernel": shape for name, shape in shapes.items()}
    weights = {path: permuted(rng, recipes[path].draw(shape, jnp.float32)) for path, shape in kernels.items()}
    weights |= {f"{name}/bias": rng.normal(size=shape[1]).astype(np.float32) for name, shape in shapes.items()}
    file = codec.pack(weights, recipes, flax_fan_in, metadata={"model": "mlp", "dataset": "mnist", "sha256": "0" * 64})
    entropy = sum(codec.entropy(weights[path], (0,)) for path in kernels) / 8
    assert len(file) <= largest
    assert len(file) <= 1.02 * entropy + 4 * 522 + 1_000
    assert sum(codec.permutation_bytes(file).values()) <= entropy + 24


@pytest.mark.nightly
@pytest.mark.parametrize(
    ("recipe", "dtype"),
    [
        (Recipe("variance_scaling", args=(2.0, "fan_out", "normal"), key=(0, 1)), jnp.bfloat16),
        (Recipe("variance_scaling", args=(1, "fan_in", "uniform", (-2,), -1), key=(0, 1)), jnp.float16),
        (Recipe("orthogonal", key=(0, 1)), jnp.float32),
        (Recipe("normal", key=(1, 2, 3, 4), impl="rbg"), jnp.float32),
        (Recipe("he_normal", key=(0, 1), shape=(4, 12)), jnp.float32),
        (Recipe("levels", args=(4.0, None, None), key=(0, 1)), jnp.float32),
        (Recipe("levels", args=(50,), key=(0, 1)), jnp.float32),
    ],
)
def test_recipes_of_every_kind_are_packed(recipe, dtype):
    kernel = permuted(np.random.default_rng(0), recipe.draw((8, 6), dtype))
    assert_same(codec.unpack(codec.pack({"kernel": kernel}, {"kernel": recipe})), {"kernel": kernel})


def test_a_recipe_without_rescale_is_written_as_before(network):
    """So that older readers take the file; those refuse a field that they do not know."""
    for rescale in (False, True):
        recipe = RECIPES["sparse/kernel"]._replace(rescale=rescale)
        kernel = recipe.draw((40, 6), jnp.float32)
        header, _ = decoder.read(codec.pack({"kernel": kernel}, {"kernel": recipe}))
        assert ("rescale" in header["tensors"][0]["recipe"]) == rescale


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"params": {"kernel": np.ones((3, 2), np.float32)}}, "kernel is not a permutation of the initial values"),
        ({"params": {"kernel": np.ones((3, 2), np.complex64)}}, "is complex64"),
        ({"params": {"kernel": np.ones((3, 2), np.float64)}}, "kernel is float64 and drawn as float32"),
        ({"params": {"kernel": np.ones((0, 2), np.float32)}, "recipes": {"kernel": Recipe("he_normal")}}, "be drawn"),
        ({"recipes": {"kernal": Recipe("he_uniform", key=(0, 0))}}, "recipes names kernal; the parameters are kernel"),
        ({"recipes": {"kernel": Recipe("he", key=(0, 0))}}, "there is no initializer 'he'; there are glorot_normal"),
        ({"recipes": {"kernel": Recipe(["he"], key=(0, 0))}}, r"there is no initializer \['he'\]"),
        ({"recipes": {"kernel": Recipe("normal", args=(1, 2, 3, 4), key=(0, 0))}}, "normal does not take"),
        ({"recipes": {"kernel": Recipe("normal", key=(0, 0, 0))}}, "cannot be drawn"),
        ({"recipes": {"kernel": Recipe("normal", key=(0, 2**32))}}, "cannot be drawn"),
        ({"recipes": {"kernel": Recipe("normal", keep=0.0, key=(0, 0))}}, "keep must be greater than 0"),
        ({"recipes": {"kernel": Recipe("normal", key=(0, 0), shape=(7,))}}, "another size"),
        ({"fan_in_axes": lambda path, leaf: None}, "kernel have recipes, but fan_in_axes gives them no vectors"),
        ({"params": {"a\nb": np.ones(3)}, "recipes": {}}, "is not a printable text"),
        ({"params": {"a": np.ones(3)}, "recipes": {}, "metadata": {"a": b"1"}}, "cannot be written as JSON"),
    ],
)
@pytest.mark.filterwarnings("ignore:Explicitly requested dtype")
def test_pack_refuses(change, message):
    params, recipes = {"kernel": np.ones((3, 2), np.float32)}, {"kernel": Recipe("normal", key=(0, 0))}
    with pytest.raises((ValueError, TypeError), match=message):
        codec.pack(**{"params": params, "recipes": recipes} | change)


def test_stored_values_do_not_depend_on_the_draw(network, file, monkeypatch):
    stored = codec.pack(network, RECIPES, flax_fan_in, store_values=True)
    draw = Recipe.draw
    monkeypatch.setattr(Recipe, "draw", lambda *args: np.nextafter(draw(*args), np.float32(9)))
    with pytest.raises(codec.CodecError, match="unpack it there, or pack it with the values stored"):
        codec.unpack(file)
    assert_same(codec.unpack(stored), network)


def test_missing_constriction_is_named(file, monkeypatch):
    monkeypatch.setitem(sys.modules, "constriction", None)
    with pytest.raises(ModuleNotFoundError, match=r"coding needs constriction: install laperm-jax\[lab\]"):
        codec.unpack(file)
