"""What a file can say is bounded before it is done: every invalid file is refused with CodecError, at little cost."""

import contextlib
import hashlib
import json
import math
import random
import zlib

import hypothesis
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from laperm_jax import codec, flax_fan_in
from laperm_jax.codec import _packing
from laperm_jax.initializers import INITIALIZERS, Recipe
from tests.codec.files import RECIPES, assert_same, sealed, split, with_header, with_recipe, with_tensor

ORTHOGONAL = {"initializer": "orthogonal", "key": [0, 1]}


def tensors(number, **fields):
    """Entries of empty arrays."""
    entry = {"path": "a", "dtype": "float32", "shape": [0], "values_bytes": 0, "bytes": 0}
    return [entry | {"path": f"a{i}"} | fields for i in range(number)]


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda file: b"", "not a packed network"),
        (lambda file: b"PK" + file, "not a packed network"),
        (lambda file: file[:7] + b"\x02" + file[8:], "of another version of the format than 1"),
        (lambda file: file[:-1], "damaged or truncated"),
        (lambda file: file[:20], "damaged or truncated"),
        (lambda file: file + b"\0", "damaged or truncated"),
        (lambda file: sealed(split(file)[0], split(file)[1][:-4]), "not as long as its header"),
        (lambda file: sealed(b"[" * 10**6, b""), "Invalid header"),
        (lambda file: sealed(b"\xff", b""), "Invalid header"),
        (lambda file: sealed(b" " * 10**8, b""), "longer than 4,194,304 bytes"),
        (lambda file: sealed(b"[]", b""), "Invalid header"),
        (lambda file: sealed(b"9" * 10**5, b""), "Invalid header"),
        (lambda file: sealed(json.dumps(split(file)[0]).encode() + b"NaN", b""), "Invalid header"),
        (lambda file: with_header(file, tensors=tensors(5000)), "5000 is not an integer from 0 to 4,096"),
        (lambda file: with_header(file, tensors={}), "Invalid header"),
        (lambda file: with_header(file, tensors=[7]), "Invalid header"),
        (lambda file: with_header(file, metadata={"a": 1}), "Invalid header"),
        (lambda file: with_header(file, metadata={"a": "\ud800"}), "Invalid header"),
        (lambda file: with_header(file, jax="0.1\x1b[2J"), "is not a printable text"),
        (lambda file: with_header(file, sha256="0" * 64), "the weights are not those that were packed"),
        (lambda file: with_tensor(file, path="a\nb"), "is not a printable text"),
        (lambda file: with_tensor(file, shape=[2**20, 2**20], axes=[0]), "max_bytes allows"),
        (lambda file: with_tensor(file, shape=[-1, 2]), "-1 is not an integer"),
        (lambda file: with_tensor(file, shape=[True, 2]), "True is not an integer"),
        (lambda file: with_tensor(file, shape=[2.0, 2]), "2.0 is not an integer"),
        (lambda file: with_tensor(file, shape=[1] * 99), "is not a list of at most 32 integers"),
        (lambda file: with_tensor(file, shape="12"), "is not a list"),
        (lambda file: with_tensor(file, shape=[2**24, 2], axes=[0]), "vectors of 16,777,216 entries"),
        (lambda file: with_tensor(file, dtype="object"), "'object' is not one of float16"),
        (lambda file: with_tensor(file, dtype="int32"), "'int32' is not one of float16"),
        (lambda file: with_tensor(file, dtype=["float32"]), "is not one of float16"),
        (lambda file: with_tensor(file, axes=[5]), "out of range"),
        (lambda file: with_tensor(file, axes=[0, 0]), "twice"),
        (lambda file: with_tensor(file, axes=[0, -1]), "-1 is not an integer"),
        (lambda file: with_tensor(file, bytes=7), "a permutation in 7 bytes"),
        (lambda file: with_tensor(file, bytes=-4), "-4 is not an integer"),
        (lambda file: with_tensor(file, values_bytes=2**60), "is not an integer"),
        (lambda file: with_tensor(file, values_bytes=8), "has another size"),
        (lambda file: with_tensor(file, lags=[0]), r"has the lags \(0,\)"),
        (lambda file: with_tensor(file, lags=[1] * 9), "is not a list of at most 8 integers"),
        (lambda file: with_tensor(file, lags=[2**60]), "is not an integer"),
        (lambda file: with_tensor(file, bits_back=0), "0 is neither true nor false"),
        (lambda file: with_tensor(file, path=["a"]), "is not a printable text"),
        (lambda file: with_tensor(file, path="even/kernel"), "2 arrays have the path even/kernel"),
        (lambda file: with_tensor(file, "norm/mask", dtype="uint8"), "the weights are not those that were packed"),
        (lambda file: with_tensor(file, recipe=None), "has another size"),
        (lambda file: with_tensor(file, recipe={"name": "os.system"}), "is not a recipe with the fields"),
        (lambda file: with_tensor(file, values_sha256=None), "None is not a printable text"),
        (
            lambda file: with_tensor(file, values_sha256=""),
            r"are drawn otherwise here \(jax .* on cpu\) than where .* \(jax .* on cpu\)",
        ),
        (lambda file: with_recipe(file, initializer="eval"), "'eval' is not one of glorot_normal"),
        (lambda file: with_recipe(file, initializer=["a"]), "is not one of glorot_normal"),
        (lambda file: with_recipe(file, initializer="normal", args=["a"]), "cannot be drawn"),
        (lambda file: with_recipe(file, initializer="normal", args=[[10**9]]), "is not an integer"),
        (lambda file: with_recipe(file, initializer="normal", args=[1e999]), "Infinity is not a number"),
        (lambda file: with_recipe(file, initializer="normal", args=[10**400]), "is not a finite number"),
        (lambda file: with_recipe(file, initializer="normal", args=[True]), "True is not a finite number"),
        (lambda file: with_recipe(file, initializer="normal", args=[1] * 9), "at most 8 arguments"),
        (lambda file: with_recipe(file, initializer="normal", args=[{}]), "is not a finite number"),
        (lambda file: with_recipe(file, initializer="levels", args=[1e15]), "cannot be drawn"),
        (lambda file: with_recipe(file, initializer="normal"), "are drawn otherwise here"),
        (lambda file: with_recipe(file, keep=0), "keep must be greater than 0 and at most 1"),
        (lambda file: with_recipe(file, keep=1.5), "keep must be greater than 0 and at most 1"),
        (lambda file: with_recipe(file, keep=True), "True is not a finite number"),
        (lambda file: with_recipe(file, rescale=1), "1 is neither true nor false"),
        (lambda file: with_recipe(file, key="ab"), "is not a list"),
        (lambda file: with_recipe(file, key=[0, 2**32]), "is not an integer from 0 to 4,294,967,295"),
        (lambda file: with_recipe(file, key=[0, -1]), "-1 is not an integer"),
        (lambda file: with_recipe(file, key=[0] * 17), "is not a list of at most 16 integers"),
        (lambda file: with_recipe(file, key=[0]), "cannot be drawn"),
        (lambda file: with_recipe(file, impl="md5"), "cannot be drawn"),
        (lambda file: with_recipe(file, impl=7), "is not a printable text"),
        (lambda file: with_recipe(file, shape=[2**15, 2**14]), "has another size than its array"),
        (lambda file: with_recipe(file, shape=[2**47, 2**47, 0]), "has another size than its array"),
        (lambda file: with_recipe(file, shape=[216, -1, -1]), "-1 is not an integer"),
    ],
)
def test_unpack_refuses(file, damage, message):
    with pytest.raises(codec.CodecError, match=message):
        codec.unpack(damage(file), max_bytes=2**28)


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        (tensors(1, shape=[2**47, 2**47, 0]), "max_bytes allows"),
        (tensors(1, shape=[2**20, 0, 2**20], recipe={"initializer": "normal"}, axes=[0]), "max_bytes allows"),
        (tensors(3, shape=[2**14, 0]), "max_bytes allows"),
        (
            tensors(2, shape=[2**15, 2**15], bytes=4, recipe=ORTHOGONAL, axes=[0]),
            "drawing orthogonal matrices takes 70,368,744,177,664 multiplications; 1,099,511,627,776 are allowed",
        ),
        (
            [tensors(1, shape=[i, 1], recipe=ORTHOGONAL, axes=[0], path=str(i))[0] for i in range(600)],
            "600 different draws have to be compiled; 512 are allowed",
        ),
    ],
)
def test_unpack_refuses_before_it_draws(entries, message, monkeypatch):
    """Arrays that are empty along another axis, cubic work, and hundreds of programs."""
    monkeypatch.setattr(Recipe, "draw", None)
    defaults = {"lags": [], "values_sha256": ""}
    header = {
        "jax": "",
        "platform": "",
        "sha256": "",
        "metadata": {},
        "tensors": [defaults | entry for entry in entries],
    }
    with pytest.raises(codec.CodecError, match=message):
        codec.unpack(sealed(header, b""), max_bytes=2**17)


@pytest.mark.parametrize("content", [b"\0\1\2", b"\0\1\xff"])
def test_unpack_refuses_bools_that_are_none(content):
    header = {
        "jax": "",
        "platform": "",
        "sha256": "",
        "metadata": {},
        "tensors": tensors(1, dtype="bool", shape=[3], bytes=3),
    }
    with pytest.raises(codec.CodecError, match="a0 holds something else than 0 and 1"):
        codec.unpack(sealed(header, content))


def test_unpack_refuses_stored_values_that_are_not_sorted(network):
    file = codec.pack({"kernel": network["conv/kernel"]}, {"kernel": RECIPES["conv/kernel"]}, store_values=True)
    header, contents = split(file)
    values = np.frombuffer(contents[: header["tensors"][0]["values_bytes"]], np.float32)
    with pytest.raises(codec.CodecError, match="the initial values of kernel are not sorted"):
        codec.unpack(sealed(header, values[::-1].tobytes() + contents[values.nbytes :]))


def test_decoding_steps_are_bounded(network, file, monkeypatch):
    steps = 36 + 12 + 2 * 40 + 3 * 70 + 4 * 20  # the fan-in, once more for each frequent value
    monkeypatch.setattr(_packing, "MAX_STEPS", steps)
    assert_same(codec.unpack(file), network)
    monkeypatch.setattr(_packing, "MAX_STEPS", steps - 1)
    for call in (lambda: codec.unpack(file), lambda: codec.pack(network, RECIPES, flax_fan_in)):
        with pytest.raises(codec.CodecError, match=f"decoding takes {steps} steps; {steps - 1} are allowed"):
            call()


def test_a_compressed_header_that_is_followed_by_more_is_refused(file):
    header, contents = split(file)
    compressed = zlib.compress(json.dumps(header).encode()) + b"more"
    rest = len(compressed).to_bytes(8, "little") + compressed + contents
    with pytest.raises(codec.CodecError, match="followed by something else"):
        codec.unpack(file[:8] + hashlib.sha256(rest).digest() + rest)


def test_a_stream_that_ends_with_a_zero_word_is_refused(file):
    header, contents = split(file)
    number = [tensor["path"] for tensor in header["tensors"]].index("conv/kernel")
    end = sum(tensor["bytes"] for tensor in header["tensors"][: number + 1])
    with pytest.raises(codec.CodecError, match="the permutation of conv/kernel cannot be read"):
        codec.unpack(sealed(header, contents[: end - 4] + b"\0\0\0\0" + contents[end:]))


SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**70), 2**70),
    st.integers(-3, 40),
    st.floats(),
    st.text(max_size=4),
    st.sampled_from([*INITIALIZERS, "float32", "int8", "object", "rbg", 10**400, 2**47, 1e308]),
)
JSON = st.recursive(SCALARS, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=4), inner))
SIZES = st.lists(st.sampled_from([0, 1, 2, 3, 8, 27, 216, 2**16, 2**31, 2**47, -1]), max_size=5)
RECIPE_FIELDS = {
    "initializer": st.sampled_from(sorted(INITIALIZERS)) | JSON,
    "args": st.lists(SCALARS, max_size=4) | JSON,
    "keep": st.floats(-1, 2) | JSON,
    "key": st.lists(st.integers(-1, 2**33), max_size=5) | JSON,
    "impl": st.sampled_from(["threefry2x32", "rbg", "unsafe_rbg", "fry"]) | JSON,
    "shape": SIZES | JSON,
    "rescale": st.booleans() | JSON,
}
TENSOR_FIELDS = {
    "path": st.sampled_from(["conv/kernel", "even/kernel", "a"]) | JSON,
    "dtype": st.sampled_from(["float16", "float32", "float64", "bool", "int64"]) | JSON,
    "shape": SIZES | JSON,
    "axes": st.lists(st.integers(-4, 4), max_size=4) | JSON,
    "lags": st.lists(st.integers(-1, 300), max_size=9) | JSON,
    "values_bytes": st.integers(-1, 2**50) | JSON,
    "bytes": st.integers(-1, 2**50) | JSON,
    "values_sha256": JSON,
    "recipe": JSON,
}


def fields(strategies):
    """One or two fields, each with a value that may be right."""
    changed = st.lists(st.sampled_from(sorted(strategies)), min_size=1, max_size=2, unique=True)
    return changed.flatmap(lambda names: st.fixed_dictionaries({name: strategies[name] for name in names}))


@pytest.fixture(scope="module")
def draws():
    """Replaces what is drawn by zeros, and notes how much that would have been; one program is never too large."""
    sizes = []

    def draw(key_data, recipe, shape, dtype):
        recipe.make()
        sizes.append(math.prod(shape) * np.dtype(dtype).itemsize)
        assert math.prod(max(size, 1) for size in shape) * np.dtype(dtype).itemsize <= 10_000
        return np.zeros(shape, dtype)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("laperm_jax.initializers._recipe._draw", draw)
        yield sizes


@given(recipe=fields(RECIPE_FIELDS), tensor=st.just({}) | fields(TENSOR_FIELDS))
def test_fields_of_a_recipe_are_bounded(file, draws, recipe, tensor):
    changed = with_tensor(with_recipe(file, **recipe), **tensor)
    draws.clear()
    with pytest.raises(codec.CodecError):  # even where all is valid, zeros are not what was packed
        codec.unpack(changed, max_bytes=10_000)
    assert sum(draws) <= 10_000


@given(header=st.dictionaries(st.sampled_from(["jax", "platform", "sha256", "metadata", "tensors"]), JSON, min_size=1))
def test_fields_of_a_header_are_bounded(file, draws, header):
    changed = with_header(file, **header)
    with pytest.raises(codec.CodecError):
        codec.unpack(changed, max_bytes=10_000)
    for call in (codec.metadata, codec.permutation_bytes):
        with contextlib.suppress(codec.CodecError):
            call(changed)


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
    """Most of them with a checksum that fits, and many in the header's text, so that later checks are reached."""
    rng, (header, contents) = random.Random(0), split(file)
    text = json.dumps(header).encode()
    tried, same, refused = 5 * hypothesis.settings().max_examples, 0, 0
    for number in range(tried):
        match number % 3:
            case 0:
                damaged = mutated(rng, file)
            case 1:
                damaged = sealed(text, mutated(rng, contents))
            case 2:
                damaged = sealed(mutated(rng, text), contents)
        try:
            assert_same(codec.unpack(damaged, max_bytes=10**6), network)
            same += 1
        except codec.CodecError:
            refused += 1
    record_fault("packed network: mutated file", tried, survived=same, refused=refused)
    assert refused > 0.9 * tried
