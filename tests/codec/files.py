"""Networks to pack, and files with another header or other contents."""

import hashlib
import json
import zlib

from laperm_jax.initializers import Recipe

RECIPES = {
    "conv/kernel": Recipe("he_uniform", key=(1, 2)),
    "sparse/kernel": Recipe("he_normal", keep=0.3, key=(3, 4), rescale=True),
    "shared/kernel": Recipe("shared_value", args=(0.08,), keep=4 / 7, key=(5, 6)),
    "even/kernel": Recipe("equidistant", args=(0.1,), key=(7, 8)),
    "few/kernel": Recipe("levels", args=(3, 0.05, (0,)), key=(9, 10)),
}
SHAPES = {
    "conv/kernel": (3, 3, 4, 6),
    "sparse/kernel": (40, 6),
    "shared/kernel": (70, 9),
    "even/kernel": (12, 5),
    "few/kernel": (20, 3),
}


def permuted(rng, array):
    """Shuffles each vector of an array whose last axis numbers the output units."""
    return rng.permuted(array.reshape(-1, array.shape[-1]), axis=0).reshape(array.shape)


def assert_same(weights, expected):
    assert weights.keys() == expected.keys()
    for path, array in expected.items():
        assert (weights[path].dtype, weights[path].shape) == (array.dtype, array.shape)
        assert weights[path].tobytes() == array.tobytes()


def split(file):
    """The header of a file as a dict, and its contents."""
    length = int.from_bytes(file[40:48], "little")
    return json.loads(zlib.decompress(file[48 : 48 + length])), file[48 + length :]


def sealed(header, contents):
    """The file of a header (a dict, or any bytes) and contents, with the checksum that fits."""
    compressed = zlib.compress(header if isinstance(header, bytes) else json.dumps(header).encode())
    rest = len(compressed).to_bytes(8, "little") + compressed + contents
    return b"\x93LAPERM\x01" + hashlib.sha256(rest).digest() + rest


def with_header(file, /, **fields):
    """A file whose header has other fields."""
    header, contents = split(file)
    return sealed(header | fields, contents)


def with_tensor(file, array="conv/kernel", /, **fields):
    """A file that says something else about one array."""
    header, contents = split(file)
    changed = [tensor | fields if tensor["path"] == array else tensor for tensor in header["tensors"]]
    return sealed(header | {"tensors": changed}, contents)


def with_recipe(file, array="conv/kernel", /, **fields):
    """A file that has another recipe for one array."""
    header, _ = split(file)
    (recipe,) = (tensor["recipe"] for tensor in header["tensors"] if tensor["path"] == array)
    return with_tensor(file, array, recipe=recipe | fields)
