"""Tables and strategies that several tests share."""

import hypothesis.extra.numpy as hnp
import hypothesis.strategies as st
import jax.numpy as jnp
import numpy as np
import pytest

# Few shapes, so that compiled programs are used again: (shape, axes of one vector).
ARRAYS = [
    ((1,), (0,)),
    ((7,), (0,)),
    ((6,), ()),
    ((), ()),
    ((5, 3), (0,)),
    ((5, 3), (1,)),
    ((5, 3), (0, 1)),
    ((1, 4), (0,)),
    ((3, 2, 4), (0, 2)),
    ((3, 2, 4), (1,)),
    ((2, 3, 2, 5), (0, 1, 2)),
    ((0, 3), (0,)),
    ((3, 0), (0,)),
]
DTYPES = [jnp.float32, jnp.bfloat16, jnp.float16]
# Every array in one dtype, a matrix in all of them: (shape, axes, dtype).
CASES = [(shape, axes, DTYPES[number % 3]) for number, (shape, axes) in enumerate(ARRAYS)]
CASES += [case for dtype in DTYPES if (case := ((5, 3), (0,), dtype)) not in CASES]

SPECIAL = [0.0, -0.0, 1.0, -1.0, 1.5, 2.0**-14, -(2.0**-14)]
NON_FINITE = [np.nan, np.inf, -np.inf]


def finite_arrays(shape: tuple[int, ...], dtype: np.dtype) -> st.SearchStrategy[np.ndarray]:
    """Arrays with many ties, signed zeros and values of every size, subnormal ones included."""
    dtype = np.dtype(dtype)
    # bfloat16 is no NumPy dtype: draw float32 and round.
    width = 16 if dtype == np.float16 else 64 if dtype == np.float64 else 32
    values = st.sampled_from(SPECIAL) | st.floats(-1e4, 1e4, width=width)
    source = {16: np.float16, 32: np.float32, 64: np.float64}[width]
    return hnp.arrays(source, shape, elements=values).map(lambda array: array.astype(dtype))


def grid_arrays(shape: tuple[int, ...], dtype: np.dtype) -> st.SearchStrategy[np.ndarray]:
    """Small multiples of 1/4: sums of a few are exact in every dtype, and many are equal."""
    values = st.integers(-6, 6).map(lambda n: n / 4)
    return hnp.arrays(np.float32, shape, elements=values).map(lambda array: array.astype(np.dtype(dtype)))


@st.composite
def with_non_finite(draw: st.DrawFn, arrays: st.SearchStrategy[np.ndarray]) -> np.ndarray:
    """Puts NaN or inf in some places of an array."""
    array = draw(arrays)
    mask = draw(hnp.arrays(bool, array.shape, elements=st.sampled_from([False, False, False, True])))
    values = draw(hnp.arrays(np.float32, array.shape, elements=st.sampled_from(NON_FINITE)))
    return np.where(mask, values.astype(array.dtype), array)


def some_of(cases, keep):
    """Cases for ``parametrize`` of which those at the positions ``keep`` run always, and the others nightly."""
    as_tuple = lambda case: case if isinstance(case, tuple) else (case,)
    marks = lambda number: () if number in keep else pytest.mark.nightly
    return [pytest.param(*as_tuple(case), marks=marks(number)) for number, case in enumerate(cases)]


def inputs(*shape):
    """Normal float32 numbers."""
    return np.random.default_rng(0).normal(size=shape).astype(np.float32)


def fan_in_of(gradient):
    """The axes of one weight vector: those along which the entries lie that one unit's outputs have a gradient for."""
    entries = np.argwhere(gradient)
    axes = tuple(axis for axis, _ in enumerate(gradient.shape) if len(set(entries[:, axis])) > 1)
    assert len(entries) == np.prod([gradient.shape[axis] for axis in axes])  # whole axes
    return axes
