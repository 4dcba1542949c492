"""Which weights an output depends on, for the tests of fan-in rules."""

import numpy as np


def inputs(*shape):
    return np.random.default_rng(0).normal(size=shape).astype(np.float32)


def fan_in_of(gradient):
    """The axes of one weight vector: those along which the entries lie that one unit's outputs have a gradient for."""
    entries = np.argwhere(gradient)
    axes = tuple(axis for axis, _ in enumerate(gradient.shape) if len(set(entries[:, axis])) > 1)
    assert len(entries) == np.prod([gradient.shape[axis] for axis in axes])  # whole axes
    return axes
