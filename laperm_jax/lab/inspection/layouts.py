"""Axis conventions of other libraries: which axes of a named array form one weight vector, and what is not a weight.

A file of weights holds names and arrays. What a layer does with an array is told by its name alone, as PyTorch, Keras,
Flax, Haiku and Equinox give them.
"""

import re
from collections.abc import Sequence

import numpy as np

from laperm_jax import flax_fan_in, matrix_fan_in
from laperm_jax.sync._vectors import Axes

_OPTIMIZER = re.compile(  # Keras, Optax; the rest are PyTorch's names of moments
    r"(.*_)?optimizers?(_\d+|_weights|_vars|_state(_dict)?|_states)?|opt_state|optim(_state)?"
    r"|exp_avg(_sq|_diff|_slow)?|max_exp_avg_sqs?|exp_inf|momentum_buffer|square_avg|acc_delta|grad_avg"
)
_METRICS = re.compile(r"_*(.*_)?metrics?(_\d+)?|.*_tracker|(total_)?confusion_matrix|seed_generators?(_\d+)?")
_NO_KERNEL = re.compile(  # biases and scales have rank 2 where there is one for each head or gate
    r"(.*_)?bias(es)?(_.*)?|gamma|beta|alpha|scale|offset|moving_(mean|variance)|running_(mean|var)|weight_g|original0"
)
_OUTPUTS_FIRST = re.compile(  # PyTorch and Equinox
    r"weight|weight_(ih|hh|hr)(_l\d+)?(_reverse)?|(.*_)?proj_weight|weight_(v|orig|mu|sigma)|original1?"
)
_TABLE = re.compile(r"(.*_)?(emb|embed|embedding|embeddings)(_\d+)?|embed_(tokens|positions)|w[tp]e")
_TRANSPOSED_CONV = re.compile(r".*(conv_?(\dd)?_?transpose|deconv|transposed?_?conv).*")
_KERAS_TRANSPOSED_CONV = re.compile(r".*conv\dd_transpose.*")
_KERAS_DEPTHWISE = re.compile(r"(?!.*separable).*depthwise.*")


def no_layer(path: str) -> str | None:
    """What an array is that belongs to no layer: state of an optimiser or of a metric; None for all others.

    Example:
      >>> from laperm_jax.lab.inspection.layouts import no_layer
      >>> no_layer("optimizer/vars/2"), no_layer("layers/dense/vars/0")
      ('optimiser state', None)
    """
    parts = _parts(path)
    if any(_OPTIMIZER.fullmatch(part) for part in parts):
        return "optimiser state"
    if any(_METRICS.fullmatch(part) for part in parts):
        return "metrics and random state"
    return None


def fan_in(path: str, array: np.ndarray, layer: str | None = None) -> Axes | None:
    """The axes of one weight vector, by the names of PyTorch, Keras, Flax, Haiku and Equinox.

    Args:
      path: path of the array, its parts separated by ``/`` or ``.``.
      array: of any shape.
      layer: what kind of layer it belongs to, as ``conv2d_transpose``; the part before the last of the path if None.

    Returns:
      The axes, or ``None`` for biases, scales, scalars and vectors. Unknown names have the output axis last.

    Example:
      >>> import numpy as np
      >>> from laperm_jax.lab.inspection.layouts import fan_in
      >>> lstm, depthwise = np.zeros((40, 10)), np.zeros((3, 3, 16, 1))
      >>> fan_in("rnn.weight_hh_l0", lstm), fan_in("depthwise_conv2d/depthwise_kernel", depthwise)
      ((1,), (0, 1))
    """
    module, name = ("", *_parts(path))[-2:]
    module = (layer or module).lower()
    ndim = array.ndim
    if ndim < 2 or _NO_KERNEL.fullmatch(name):
        return None
    if name in ("embedding", "embeddings") or (name == "weight" and ndim == 2 and _TABLE.fullmatch(module)):
        return (0,)  # one vector for each feature, as in `laperm train --permute-embeddings`
    if _OUTPUTS_FIRST.fullmatch(name):
        transposed = ndim > 2 and _TRANSPOSED_CONV.fullmatch(module)  # (in, out, height, width)
        return tuple(axis for axis in range(ndim) if axis != (1 if transposed else 0))
    if name == "depthwise_kernel" or (name == "kernel" and ndim > 2 and _KERAS_DEPTHWISE.fullmatch(module)):
        return tuple(range(ndim - 2))  # (height, width, in, multiplier): each input channel has outputs of its own
    if name == "kernel" and ndim > 2 and _KERAS_TRANSPOSED_CONV.fullmatch(module):
        return (*range(ndim - 2), ndim - 1)  # (height, width, out, in)
    if name in ("kernel", "recurrent_kernel", "pointwise_kernel", "w"):
        return flax_fan_in(
            f"{module.strip('_').removesuffix('_dense')}/kernel", array
        )  # Keras: query_dense, Flax: query
    return matrix_fan_in(path, array) if sum(size > 1 for size in array.shape) > 1 else None


def outputs_first(path: str, array: np.ndarray) -> Axes | None:
    """The axes of one weight vector where the first axis numbers the output units."""
    del path
    return tuple(range(1, array.ndim)) if array.ndim >= 2 else None


def _parts(path: str) -> Sequence[str]:
    """The parts of a path, without the numbers that TensorFlow (``kernel:0``) adds."""
    return re.sub(r":\d+$", "", path).replace(".", "/").split("/")
