"""Packed networks: exact, near the entropy, read by another decoder, and refused where damaged."""

import hashlib
import json
import math
import random
import sys
import zlib

import hypothesis
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from laperm_jax import flax_fan_in
from laperm_jax.codec import _container as codec
from laperm_jax.codec import _permutations
from laperm_jax.initializers import Recipe
from tests import decoder

RECIPES = {
    "conv/kernel": Recipe("he_uniform", key=(1, 2)),
    "sparse/kernel": Recipe("he_normal", keep=0.3, key=(3, 4)),
    "shared/kernel": Recipe("shared_value", args=(0.08,), keep=4 / 7, key=(5, 6)),
    "even/kernel": Recipe("equidistant", args=(0.1,), key=(7, 8)),
}
SHAPES = {"conv/kernel": (3, 3, 4, 6), "sparse/kernel": (40, 6), "shared/kernel": (70, 9), "even/kernel": (12, 5)}


def permuted(rng, array):
    return rng.permuted(array.reshape(-1, array.shape[-1]), axis=0).reshape(array.shape)


@pytest.fixture(scope="module")
def network():
    """Weights, trained by chance."""
    rng = np.random.default_rng(0)
    weights = {path: permuted(rng, recipe.draw(SHAPES[path], jnp.float32)) for path, recipe in RECIPES.items()}
    others = {"conv/bias": rng.normal(size=6), "norm/count": np.int32(7), "norm/mask": rng.random(5) < 0.5}
    return weights | {path: np.asarray(array) for path, array in others.items()}


@pytest.fixture(scope="module")
def file(network):
    return codec.pack(network, RECIPES, flax_fan_in, metadata={"model": "toy"})


def assert_same(weights, expected):
    assert weights.keys() == expected.keys()
    for path, array in expected.items():
        assert (weights[path].dtype, weights[path].shape) == (array.dtype, array.shape)
        assert weights[path].tobytes() == array.tobytes()


def test_comes_back_bit_for_bit(network, file):
    assert_same(codec.unpack(file), network)
    assert codec.metadata(file) == {"model": "toy"}


def test_another_decoder_reads_it(network, file):
    assert_same(decoder.decode(file), network)
    assert_same(decoder.decode(codec.pack(network, RECIPES, flax_fan_in, store_values=True)), network)


def test_a_nested_tree_is_packed_by_its_paths(network, file):
    tree = {}
    for path, array in network.items():
        module, name = path.split("/")
        tree.setdefault(module, {})[name] = array
    assert_same(codec.unpack(codec.pack(tree, RECIPES, flax_fan_in)), dict(sorted(network.items())))


KERNEL = 1  # number of conv/kernel in the file
VALUES = [
    lambda rng, shape: rng.normal(size=shape).astype(np.float32),
    lambda rng, shape: rng.normal(size=shape).astype(np.float16),
    lambda rng, shape: rng.integers(0, 3, shape).astype(np.int8),
    lambda rng, shape: np.where(rng.random(shape) < 0.3, rng.normal(size=shape), 0.0),
    lambda rng, shape: np.where(rng.random(shape) < 0.5, -0.0, rng.integers(0, 2, shape)),
    lambda rng, shape: rng.integers(0, 60, shape).astype(np.float32),
]


@given(st.integers(0, 150), st.integers(0, 7), st.sampled_from(VALUES), st.integers(0, 2**32))
def test_arrangements_of_any_values(fan_in, vectors, draw, seed):
    rng = np.random.default_rng(seed)
    keys = codec._keys(draw(rng, (fan_in, vectors)))
    ranks = np.argsort(rng.random(keys.shape), axis=0)
    ascending = np.sort(keys, axis=0)
    words, lags = _permutations.encode(ranks, ascending)
    decoded = _permutations.decode(words, lags, ascending)
    np.testing.assert_array_equal(np.sort(decoded, axis=0), np.sort(ranks, axis=0))
    value = lambda ranks: np.take_along_axis(ascending, ranks, axis=0)
    np.testing.assert_array_equal(value(decoded), value(ranks))
    others = decoder.decode_places(decoder.Stream(words.astype("<u4").tobytes()), lags, ascending.T.tolist())
    np.testing.assert_array_equal(np.reshape(others, (vectors, fan_in)).T, decoded)


@given(
    st.lists(st.integers(1, 2**32 - 1), max_size=50),
    st.lists(st.integers(1, 200), max_size=8),
    st.sampled_from(VALUES),
    st.integers(0, 2**32),
)
def test_words_that_no_encoder_wrote_give_some_permutation(words, lags, draw, seed):
    ascending = np.sort(codec._keys(draw(np.random.default_rng(seed), (90, 3))), axis=0)
    decoded = _permutations.decode(np.array(words, np.uint32), lags, ascending)
    np.testing.assert_array_equal(np.sort(decoded, axis=0), np.tile(np.arange(90)[:, None], 3))


def test_patterns_that_vectors_share_are_found():
    """Weights of an image's border that stay where they were, and neighbours that are alike."""
    rng = np.random.default_rng(0)
    image = np.pad(rng.random((7, 7)) < 0.5, 4).repeat(2, axis=0).repeat(2, axis=1)
    ones = image.ravel()[:, None] ^ (rng.random((image.size, 12)) < 0.01)
    ascending = np.sort(ones, axis=0)
    ranks = np.where(ones, len(ones) - np.cumsum(ones, axis=0), np.cumsum(~ones, axis=0) - 1)
    words, lags = _permutations.encode(ranks, ascending)
    assert 30 in lags  # the width of the image
    assert 32 * len(words) < 0.7 * _permutations.entropy(ascending)
    decoded = _permutations.decode(words, lags, ascending)
    np.testing.assert_array_equal(np.take_along_axis(ascending, decoded, axis=0), ones)


def test_entropy():
    log2_factorial = lambda n: math.lgamma(n + 1) / math.log(2)
    values = np.array([[0.0, 0.1, 0.0], [0.0, 0.2, 0.5], [1.0, 0.3, 0.5], [2.0, 0.4, 0.5]])
    expected = 2 * log2_factorial(4) - log2_factorial(2) + math.log2(4)
    assert codec.entropy(values, axes=(0,)) == pytest.approx(expected)
    assert codec.entropy(values.T, axes=(1,)) == pytest.approx(expected)
    assert codec.entropy(np.array([[0.0], [-0.0]]), axes=(0,)) == 1  # two values, for they are two bit patterns


@pytest.mark.parametrize(
    "recipe",
    [
        Recipe("he_uniform", key=(0, 1)),
        Recipe("he_uniform", keep=0.3, key=(0, 1)),
        Recipe("he_uniform", keep=0.9, key=(0, 1)),
        Recipe("shared_value", args=(0.08,), keep=4 / 7, key=(0, 1)),
        Recipe("shared_value", args=(0.08,), key=(0, 1)),
    ],
)
def test_size_is_near_the_entropy(recipe):
    kernel = permuted(np.random.default_rng(0), recipe.draw((3, 3, 50, 200), jnp.float32))
    bound = codec.entropy(kernel, axes=(0, 1, 2)) / 8
    assert bound - 8 <= len(codec.pack({"kernel": kernel}, {"kernel": recipe})) <= 1.0005 * bound + 600


@pytest.mark.parametrize(
    ("recipe", "dtype"),
    [
        (Recipe("variance_scaling", args=(2.0, "fan_out", "normal"), key=(0, 1)), jnp.bfloat16),
        (Recipe("orthogonal", key=(0, 1)), jnp.float32),
        (Recipe("normal", key=(1, 2, 3, 4), impl="rbg"), jnp.float32),
    ],
)
def test_other_recipes(recipe, dtype):
    kernel = permuted(np.random.default_rng(0), recipe.draw((8, 6), dtype))
    assert_same(codec.unpack(codec.pack({"kernel": kernel}, {"kernel": recipe})), {"kernel": kernel})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"params": {"kernel": np.ones((3, 2), np.float32)}}, "kernel is no permutation of the initial values"),
        ({"params": {"kernel": np.ones((3, 2), np.complex64)}}, "is complex64"),
        ({"recipes": {"kernal": Recipe("he_uniform", key=(0, 0))}}, "recipes names kernal; the parameters are kernel"),
        ({"recipes": {"kernel": Recipe("he", key=(0, 0))}}, "there is no initializer 'he'; there are glorot_normal"),
        ({"recipes": {"kernel": Recipe("normal", args=(1, 2, 3, 4), key=(0, 0))}}, "normal does not take"),
        ({"recipes": {"kernel": Recipe("normal", key=(0, 0, 0))}}, "cannot be drawn"),
        ({"recipes": {"kernel": Recipe("normal", keep=0.0, key=(0, 0))}}, "keep must be greater than 0"),
        ({"fan_in_axes": lambda path, leaf: None}, "kernel have recipes, but fan_in_axes gives them no vectors"),
    ],
)
def test_what_cannot_be_packed_is_refused(change, message):
    params, recipes = {"kernel": np.ones((3, 2), np.float32)}, {"kernel": Recipe("normal", key=(0, 0))}
    with pytest.raises((ValueError, TypeError), match=message):
        codec.pack(**{"params": params, "recipes": recipes} | change)


def resealed(file, change):
    """A file with another header or other contents, and the checksum that they need."""
    length = int.from_bytes(file[40:48], "little")
    header, contents = change(json.loads(zlib.decompress(file[48 : 48 + length])), file[48 + length :])
    text = zlib.compress(header if isinstance(header, bytes) else json.dumps(header).encode())
    rest = len(text).to_bytes(8, "little") + text + contents
    return file[:8] + hashlib.sha256(rest).digest() + rest


def with_tensor(**fields):
    def change(header, contents):
        header["tensors"][KERNEL] |= fields
        return header, contents

    return lambda file: resealed(file, change)


def with_header(**fields):
    return lambda file: resealed(file, lambda header, contents: (header | fields, contents))


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda file: b"", "this is no packed network"),
        (lambda file: b"PK" + file, "this is no packed network"),
        (lambda file: file[:7] + b"\x02" + file[8:], "of another version of the format than 1"),
        (lambda file: file[:-1], "damaged or truncated"),
        (lambda file: file[:20], "damaged or truncated"),
        (lambda file: file + b"\0", "damaged or truncated"),
        (lambda file: resealed(file, lambda header, contents: (header, contents[:-4])), "not as long as its header"),
        (lambda file: resealed(file, lambda header, contents: (b"[" * 10**6, b"")), "header cannot be read"),
        (lambda file: resealed(file, lambda header, contents: (b"\xff", b"")), "header cannot be read"),
        (lambda file: resealed(file, lambda header, contents: (b" " * 10**8, b"")), "longer than 4,194,304 bytes"),
        (lambda file: resealed(file, lambda header, contents: (b"[]", b"")), "header cannot be read"),
        (with_header(tensors=[{}] * 5000), "header cannot be read"),
        (with_header(tensors=[7]), "its header says what cannot be"),
        (with_header(metadata={"a": 1}), "header cannot be read"),
        (with_header(jax="0.1\x1b[2J"), "header cannot be read"),
        (with_tensor(path="a\nb"), "a path is no text"),
        (with_header(sha256="0" * 64), "the weights are not those that were packed"),
        (with_tensor(shape=[2**20, 2**20], axes=[0]), "max_bytes allows"),
        (with_tensor(shape=[-1, 2]), "-1 is no size"),
        (with_tensor(shape=[True, 2]), "True is no size"),
        (with_tensor(shape=[1] * 99), "99 dimensions"),
        (with_tensor(shape=[2**24, 2], axes=[0]), "vectors of 16,777,216 entries"),
        (with_tensor(dtype="object"), "'object' is none of float16"),
        (with_tensor(axes=[5]), "out of range"),
        (with_tensor(bytes=7), "places in 7 bytes"),
        (with_tensor(lags=[0]), r"has the lags \(0,\)"),
        (with_tensor(lags=[1] * 9), "has the lags"),
        (with_tensor(path=["a"]), "its header says what cannot be"),
        (with_tensor(path="even/kernel"), "the weights are not those that were packed"),
        (with_tensor(recipe=None), "has another size"),
        (with_tensor(recipe={"name": "os.system"}), "its header says what cannot be"),
        (with_tensor(recipe={"initializer": "eval", "key": [0, 1]}), "there is no initializer 'eval'"),
        (with_tensor(recipe={"initializer": ["a"], "key": [0, 1]}), "cannot be drawn"),
        (with_tensor(recipe={"initializer": "normal", "args": ["a"], "key": [0, 1]}), "cannot be drawn"),
        (with_tensor(recipe={"initializer": "normal", "key": "ab"}), "cannot be drawn"),
        (with_tensor(recipe={"initializer": "normal", "key": [0, 1]}), "are drawn otherwise here"),
        (
            with_tensor(values_sha256=None),
            r"are drawn otherwise here \(jax .* on cpu\) than where .* \(jax .* on cpu\)",
        ),
    ],
)
def test_a_bad_file_is_refused(file, damage, message):
    with pytest.raises(codec.CodecError, match=message):
        codec.unpack(damage(file))


def test_what_would_take_hours_is_refused(network, file, monkeypatch):
    steps = 36 + 12 + 2 * 40 + 3 * 70  # all different; all different; zeros among others; zeros and one more value
    monkeypatch.setattr(codec, "_MAX_STEPS", steps)
    assert_same(codec.unpack(file), network)
    monkeypatch.setattr(codec, "_MAX_STEPS", steps - 1)
    for call in (lambda: codec.unpack(file), lambda: codec.pack(network, RECIPES, flax_fan_in)):
        with pytest.raises(codec.CodecError, match=f"decoding takes {steps} steps; {steps - 1} are allowed"):
            call()


def test_a_stream_that_ends_with_a_zero_word_is_refused(file):
    def change(header, contents):
        end = sum(tensor["bytes"] for tensor in header["tensors"][: KERNEL + 1])
        return header, contents[: end - 4] + b"\0\0\0\0" + contents[end:]

    with pytest.raises(codec.CodecError, match="the places of conv/kernel cannot be read"):
        codec.unpack(resealed(file, change))


def mutated(rng, content):
    content = bytearray(content)
    for _ in range(rng.choice([1, 1, 1, 2, 10])):
        at = rng.randrange(len(content) or 1)
        match rng.choice(["flip", "flip", "set", "set", "delete", "insert", "truncate"]):
            case "flip" if content:
                content[at] ^= 1 << rng.randrange(8)
            case "set" if content:
                content[at] = rng.choice(b'\0\xff0123456789[]{},:"e-.')
            case "delete":
                del content[at : at + rng.choice([1, 4, 100])]
            case "insert":
                content[at:at] = rng.randbytes(rng.choice([1, 4]))
            case "truncate":
                del content[at:]
    return bytes(content)


def test_mutated_files_are_refused(network, file, record_fault):
    """Most of them with a checksum that fits, and many in the header's text, so that what is behind these is tried."""
    rng = random.Random(0)
    tried, same, refused = 5 * hypothesis.settings().max_examples, 0, 0
    for number in range(tried):
        match number % 3:
            case 0:
                damaged = mutated(rng, file)
            case 1:
                damaged = resealed(file, lambda header, contents: (header, mutated(rng, contents)))
            case 2:
                damaged = resealed(file, lambda header, contents: (mutated(rng, json.dumps(header).encode()), contents))
        try:
            assert_same(codec.unpack(damaged, max_bytes=10**6), network)
            same += 1
        except codec.CodecError:
            refused += 1
    record_fault("packed network: mutated file", tried, survived=same, refused=refused)
    assert refused > 0.9 * tried


def test_where_jax_draws_other_values_only_stored_ones_are_unpacked(network, file, monkeypatch):
    stored = codec.pack(network, RECIPES, flax_fan_in, store_values=True)
    draw = Recipe.draw
    monkeypatch.setattr(Recipe, "draw", lambda *args: np.nextafter(draw(*args), np.float32(9)))
    with pytest.raises(codec.CodecError, match="unpack it there, or pack it with the values stored"):
        codec.unpack(file)
    assert_same(codec.unpack(stored), network)


def test_without_the_entropy_coder_it_is_named(network, file, monkeypatch):
    monkeypatch.setitem(sys.modules, "constriction", None)
    with pytest.raises(ModuleNotFoundError, match=r"coding needs constriction: install laperm-jax\[lab\]"):
        codec.unpack(file)
