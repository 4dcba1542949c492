"""The fan-in axes of a Flax NNX model, read from its modules."""

import itertools
from typing import Any

from laperm_jax._paths import leaves_by_path
from laperm_jax.rules._warnings import warn_if_untreated
from laperm_jax.sync._vectors import Axes

Sizes = tuple[int | None, ...]  # None: any size
Kernel = tuple[str, Sizes, Axes]  # its attribute, its shape in one layer, the axes of a weight vector there


def nnx_fan_in(model: Any, wrt: Any = None) -> dict[str, Axes]:
    """Reads the axes of every kernel from the Flax NNX module that owns it.

    Unlike :func:`laperm_jax.flax_fan_in`, which goes by names, this knows the layers whose kernels look like others:
    ``LinearGeneral`` with several output axes or with ``batch_axis``, ``Einsum``, ``ConvTranspose`` with
    ``transpose_kernel``. It also knows layers stacked by ``nnx.vmap`` or ``nnx.scan``: their extra axes number layers
    and are part of no vector. Where sizes leave open which axes these are, they are the leading ones.

    These layers are known, wherever they are in the model, and subclasses of them: ``Linear``, ``LinearGeneral`` (thus
    ``MultiHeadAttention``), ``Einsum``, ``Conv``, ``ConvTranspose``, ``LoRA``, ``LoRALinear`` and the recurrent cells.
    Everything else is left to the inner optimizer: biases, embeddings, normalization layers, parameters of your own
    modules and of Linen modules in ``nnx.bridge.ToNNX``. Add those that are to be reordered by hand:
    ``nnx_fan_in(model) | {"block/weights": (0,)}``.

    Args:
      model: an ``nnx.Module``; one made by ``nnx.eval_shape`` will do.
      wrt: filter of the parameters, as for ``nnx.Optimizer``; by default ``nnx.Param``.

    Returns:
      ``{path: axes}``, for the ``fan_in_axes`` of :func:`laperm_jax.laperm`. The paths are those of
      ``nnx.state(model, wrt)``. A parameter that modules share has one path.

    Raises:
      TypeError: if ``model`` is not an ``nnx.Module``.

    Example:
      >>> import optax
      >>> from flax import nnx
      >>> from laperm_jax import laperm, nnx_fan_in
      >>> class Model(nnx.Module):
      ...     def __init__(self, rngs):
      ...         self.heads = nnx.LinearGeneral(8, (4, 2), rngs=rngs)
      ...         self.norm = nnx.LayerNorm(2, rngs=rngs)
      ...         self.up = nnx.ConvTranspose(2, 6, (3, 3), transpose_kernel=True, rngs=rngs)
      >>> model = Model(nnx.Rngs(0))
      >>> nnx_fan_in(model)
      {'heads/kernel': (0,), 'up/kernel': (0, 1, 3)}
      >>> tx = laperm(optax.adam(1e-3), sync_period=100, fan_in_axes=nnx_fan_in(model))
      >>> optimizer = nnx.Optimizer(model, tx, wrt=nnx.Param)

    Note:
      ``LoRA`` starts with ``lora_b`` at zero, and a reordering of zeros is zero: leave it to the inner optimizer, as in
      ``{path: axes for path, axes in nnx_fan_in(model).items() if not path.endswith("lora_b")}``.
    """
    from flax import nnx  # not a dependency of the core

    if not isinstance(model, nnx.Module):
        raise TypeError(f"nnx_fan_in reads the layers of an nnx.Module; {type(model).__name__} is not one")
    axes = {}  # by the identity of the variable, which modules may share
    for _, module in nnx.iter_modules(model):
        kernels = [(getattr(module, name), sizes, fan_in) for name, sizes, fan_in in _kernels(module)]
        stacked = _stacked_axes([(kernel.shape, sizes) for kernel, sizes, _ in kernels])
        for kernel, _, fan_in in kernels:
            in_one_layer = [axis for axis in range(kernel.ndim) if axis not in stacked]
            axes[id(kernel)] = tuple(in_one_layer[axis] for axis in fan_in)
    params = leaves_by_path(nnx.state(model, nnx.Param if wrt is None else wrt))
    found = (("/".join(map(str, path)), node) for path, node in nnx.iter_graph(model))
    fan_in_axes = {path: axes[id(node)] for path, node in found if path in params and axes.get(id(node))}
    warn_if_untreated("nnx_fan_in", fan_in_axes, params)
    return dict(sorted(fan_in_axes.items()))


def _kernels(module: Any) -> list[Kernel]:
    """Returns the kernels of a layer; none of a module that is not a known layer."""
    from flax import nnx

    match module:
        case nnx.LinearGeneral():
            batch, inputs = len(module.batch_axis), len(module.in_features)
            sizes = (*module.batch_axis.values(), *module.in_features, *module.out_features)
            return [("kernel", sizes, tuple(range(batch, batch + inputs)))]
        case nnx.Linear():
            return [("kernel", (module.in_features, module.out_features), (0,))]
        case nnx.Einsum():
            return [("kernel", tuple(module.kernel_shape), _einsum_fan_in(module.einsum_str, len(module.kernel_shape)))]
        case nnx.Conv() | nnx.ConvTranspose():
            ndim = len(module.kernel_shape)
            output = ndim - 2 if getattr(module, "transpose_kernel", False) else ndim - 1
            return [("kernel", module.kernel_shape, tuple(axis for axis in range(ndim) if axis != output))]
        case nnx.LoRA():
            return [("lora_a", (module.in_features, None), (0,)), ("lora_b", (None, module.out_features), (0,))]
        case _:
            return []


def _einsum_fan_in(einsum_str: str, ndim: int) -> Axes:
    """Axes of the kernel that the output lacks; none for a kernel that only scales its input."""
    operands, output = einsum_str.replace(" ", "").split("->")
    before, ellipsis, after = operands.split(",")[1].partition("...")
    broadcast = [None] * (ndim - len(before + after)) if ellipsis else []
    return tuple(axis for axis, label in enumerate([*before, *broadcast, *after]) if label and label not in output)


def _stacked_axes(kernels: list[tuple[tuple[int, ...], Sizes]]) -> Axes:
    """Finds the axes that number layers: left out, what remains of each shape has the sizes of one layer."""

    def candidates(shape: tuple[int, ...], sizes: Sizes) -> list[Axes]:
        def fits(stacked: Axes) -> bool:
            rest = [size for axis, size in enumerate(shape) if axis not in stacked]
            return all(size in (None, actual) for size, actual in zip(sizes, rest, strict=True))

        return [axes for axes in itertools.combinations(range(len(shape)), len(shape) - len(sizes)) if fits(axes)]

    for stacked in candidates(*kernels[0]) if kernels else ():
        if all(stacked in candidates(*other) for other in kernels):
            return stacked
    return tuple(range(len(kernels[0][0]) - len(kernels[0][1]))) if kernels else ()
