"""The proof, the fingerprint and the file of weights."""

import numpy as np
from safetensors.numpy import load_file

from laperm_jax.lab.runs import weights

RNG = np.random.default_rng(0)
INITIAL = {"conv/kernel": RNG.normal(size=(3, 3, 2, 5)).astype(np.float32), "bias": np.zeros(5, np.float32)}
AXES = {"conv/kernel": (0, 1, 2)}


def shuffled():
    rows = INITIAL["conv/kernel"].reshape(18, 5).copy()
    RNG.permuted(rows, axis=0, out=rows)
    return INITIAL | {"conv/kernel": rows.reshape(3, 3, 2, 5)}


def test_permutations_are_exact():
    assert weights.count_exact_vectors(INITIAL, INITIAL, AXES) == (5, 5)
    assert weights.count_exact_vectors(INITIAL, shuffled(), AXES) == (5, 5)


def test_one_wrong_bit_one_wrong_sign_of_zero_or_one_nan_is_found():
    for change in (lambda x: np.nextafter(x, np.float32(9)), lambda x: np.float32(np.nan), lambda x: -x):
        final = shuffled()
        final["conv/kernel"][1, 1, 1, 3] = change(final["conv/kernel"][1, 1, 1, 3])
        assert weights.count_exact_vectors(INITIAL, final, AXES) == (4, 5)
    zeros = {"w": np.array([[0.0, 1.0]])}
    assert weights.count_exact_vectors(zeros, {"w": np.array([[-0.0, 1.0]])}, {"w": (1,)}) == (0, 1)


def test_values_that_moved_to_another_vector_are_found():
    final = INITIAL | {"conv/kernel": INITIAL["conv/kernel"][..., ::-1]}
    assert weights.count_exact_vectors(INITIAL, final, AXES) == (1, 5)  # the middle one stays


def test_sha256_depends_on_paths_shapes_and_values_and_not_on_the_order():
    fingerprint = weights.fingerprint(INITIAL)
    assert fingerprint == weights.fingerprint(dict(reversed(INITIAL.items())))
    others = (shuffled(), {"x" + path: w for path, w in INITIAL.items()}, INITIAL | {"bias": np.zeros((5, 1), "f4")})
    assert len({fingerprint, *map(weights.fingerprint, others)}) == 4


def test_the_file_holds_path_to_array(tmp_path):
    weights.save(tmp_path / "w.safetensors", INITIAL | {"t": INITIAL["conv/kernel"].T})
    loaded = load_file(tmp_path / "w.safetensors")
    assert weights.fingerprint(loaded) == weights.fingerprint(INITIAL | {"t": INITIAL["conv/kernel"].T})
