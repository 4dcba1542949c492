"""LaPerm over several processes: data and tensor parallel training of a network on scikit-learn's digits.

    python examples/multi_process.py --out runs/one
    python -m laperm_jax.lab.training.launch -n 2 --devices 4 examples/multi_process.py --out runs/two

Both go through the same batches and give the same curve, up to the rounding of sums. Run again with the same --out, it
resumes from the last checkpoint, also on another number of devices or processes.
"""

import argparse
import json
from pathlib import Path

import grain
import jax
import jax.numpy as jnp
import numpy as np
import optax
import orbax.checkpoint as ocp
from jax.sharding import AxisType, NamedSharding, PartitionSpec
from sklearn.datasets import load_digits

from laperm_jax import laperm
from laperm_jax.lab.training import launch

BATCH, SYNC_PERIOD, SAVE_PERIOD = 64, 20, 50


def make_params(key):
    keys = jax.random.split(key, 3)
    sizes = zip(keys, ((64, 256), (256, 256), (256, 16)), strict=True)  # 10 classes, and 6 that never occur
    return {f"layer{n}": jax.nn.initializers.he_uniform()(key, shape) for n, (key, shape) in enumerate(sizes)}


def loss(params, images, labels):
    for name in ("layer0", "layer1"):
        images = jax.nn.relu(images @ params[name])
    logits = images @ params["layer2"]
    return optax.softmax_cross_entropy_with_integer_labels(logits, labels).mean()


def make_batches():
    """Every process takes its share of each batch: together they see what one process would."""
    images, labels = load_digits(return_X_y=True)
    examples = [
        {"image": np.float32(image / 16), "label": np.int32(label)} for image, label in zip(images, labels, strict=True)
    ]
    shuffled = grain.MapDataset.source(examples).seed(0).shuffle().repeat()
    mine = shuffled[jax.process_index() :: jax.process_count()].batch(BATCH // jax.process_count())
    return iter(mine.to_iter_dataset())


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--out", type=Path, required=True, help="folder of the curve and the checkpoints")
    parser.add_argument("--steps", type=int, default=300, help="number of updates (300)")
    options = parser.parse_args()

    # Weights are sharded over "model", by output units, and batches over "data".
    shape = (jax.device_count() // 2, 2) if jax.device_count() > 1 else (1, 1)
    mesh = jax.make_mesh(shape, ("data", "model"), axis_types=(AxisType.Auto,) * 2)
    weights, batches = (NamedSharding(mesh, spec) for spec in (PartitionSpec(None, "model"), PartitionSpec("data")))
    tx = laperm(optax.adam(optax.cosine_decay_schedule(3e-3, options.steps)), SYNC_PERIOD)
    initial = jax.jit(make_params, out_shardings=weights)(jax.random.key(0))
    params, opt_state = initial, jax.jit(tx.init)(initial)
    data = make_batches()

    @jax.jit
    def step(params, opt_state, images, labels):
        value, grads = jax.value_and_grad(loss)(params, images, labels)
        params, opt_state = tx.apply_gradients(grads, opt_state, params)
        return params, opt_state, value

    curve = []
    with ocp.CheckpointManager((options.out / "checkpoints").absolute()) as manager:
        if (last := manager.latest_step()) is not None:
            restore = lambda **args: manager.restore(last, args=ocp.args.Composite(**args))
            here = jax.tree.map(ocp.utils.to_shape_dtype_struct, (params, opt_state))  # however they were laid out
            params, opt_state = restore(state=ocp.args.StandardRestore(here))["state"]
            progress = restore(progress=ocp.args.JsonRestore())["progress"]
            curve = progress["curve"]
            if progress["processes"] == jax.process_count():
                restore(data=grain.checkpoint.CheckpointRestore(data))
            else:  # each had another share of the same batches
                for _ in curve:
                    next(data)
        for number in range(len(curve), options.steps):
            batch = next(data)
            images, labels = (
                jax.make_array_from_process_local_data(batches, batch[name]) for name in ("image", "label")
            )
            params, opt_state, value = step(params, opt_state, images, labels)
            curve.append(float(value))
            if (number + 1) % SAVE_PERIOD == 0 or number + 1 == options.steps:
                args = ocp.args.Composite(
                    state=ocp.args.StandardSave((params, opt_state)),
                    data=grain.checkpoint.CheckpointSave(data),
                    progress=ocp.args.JsonSave({"curve": list(curve), "processes": jax.process_count()}),
                )
                manager.save(number + 1, args=args)

    trained = tx.reconnected_params(opt_state, params)
    same_values = lambda a, b: jnp.all(jnp.sort(a, axis=0) == jnp.sort(b, axis=0), axis=0).sum()
    exact = sum(int(same_values(trained[name], initial[name])) for name in initial)
    total = sum(leaf.shape[1] for leaf in initial.values())
    if jax.process_index() == 0:
        (options.out / "curve.json").write_text(json.dumps(curve))
        processes = f"{jax.process_count()} processes, {jax.device_count()} devices"
        print(f"{processes}: loss {curve[-1]:.4f}, {exact} of {total} weight vectors exact")


if __name__ == "__main__":
    launch.initialize()
    main()
