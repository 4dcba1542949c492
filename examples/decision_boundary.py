"""The decision boundary of a network on two spirals, as Adam and as LaPerm move it; name a file for the picture."""

import itertools
import sys

import jax
import jax.numpy as jnp
import optax
from matplotlib.figure import Figure

from laperm_jax import LaPerm, laperm

STEPS, SYNC_PERIOD = 2000, 20
SHOWN = (0, 20, 100, 300, 700, 2000)
GRID = jnp.stack(jnp.meshgrid(jnp.linspace(-1.2, 1.2, 200), jnp.linspace(-1.2, 1.2, 200)), axis=-1)


def spirals(key, count):
    """Points (count, 2) of two arms of a spiral, and the number of the arm of each."""
    turn_key, noise_key = jax.random.split(key)
    arm = jnp.arange(count) % 2
    turn = jnp.sqrt(jax.random.uniform(turn_key, (count,), minval=0.02))
    angle = 3 * jnp.pi * turn + jnp.pi * arm
    points = turn[:, None] * jnp.stack([jnp.cos(angle), jnp.sin(angle)], axis=-1)
    return points + 0.02 * jax.random.normal(noise_key, (count, 2)), arm


def init_params(key, widths=(2, 128, 128, 1)):
    he_normal = jax.nn.initializers.he_normal()
    return [
        {"kernel": he_normal(jax.random.fold_in(key, n), shape), "bias": jnp.zeros(shape[1])}
        for n, shape in enumerate(itertools.pairwise(widths))
    ]


def logit(params, points):
    *hidden, output = params
    for layer in hidden:
        points = jax.nn.relu(points @ layer["kernel"] + layer["bias"])
    return (points @ output["kernel"] + output["bias"])[..., 0]


def accuracy(params, points, arm):
    return float(jnp.mean((logit(params, points) > 0) == arm))


def train(sync_period, points, arm):
    """Parameters after some numbers of updates: reconnected, where there is a sync period."""
    adam = optax.adam(optax.cosine_decay_schedule(5e-3, STEPS))
    tx = laperm(adam, sync_period) if sync_period else adam
    params = init_params(jax.random.key(1))
    opt_state = tx.init(params)
    loss = lambda params: optax.sigmoid_binary_cross_entropy(logit(params, points), arm).mean()

    @jax.jit
    def step(params, opt_state):
        updates, opt_state = tx.update(jax.grad(loss)(params), opt_state, params)
        return optax.apply_updates(params, updates), opt_state

    moments = {}
    for number in range(STEPS + 1):
        if number in SHOWN:
            moments[number] = tx.reconnected_params(opt_state, params) if isinstance(tx, LaPerm) else params
        params, opt_state = step(params, opt_state)
    return moments


def main(picture=None):
    points, arm = spirals(jax.random.key(0), 1000)
    test_points, test_arm = spirals(jax.random.key(2), 1000)
    runs = {name: train(period, points, arm) for name, period in {"Adam": None, "LaPerm": SYNC_PERIOD}.items()}
    for name, moments in runs.items():
        print(f"{name}: test accuracy {accuracy(moments[STEPS], test_points, test_arm):.3f}")
    if picture:
        figure = Figure(figsize=(2 * len(SHOWN), 4.6), layout="constrained")
        panels = figure.subplots(len(runs), len(SHOWN), sharex=True, sharey=True)
        for row, (name, moments) in zip(panels, runs.items(), strict=True):
            row[0].set_ylabel(name)
            for panel, (number, params) in zip(row, moments.items(), strict=True):
                levels = [-jnp.inf, 0, jnp.inf]
                panel.contourf(GRID[..., 0], GRID[..., 1], logit(params, GRID), levels, colors=["#c6dbef", "#fdd0a2"])
                panel.scatter(*points.T, c=arm, cmap="tab10", vmax=9, s=1)
                score = accuracy(params, test_points, test_arm)
                panel.set(xticks=[], yticks=[], title=f"update {number}: {score:.0%}")
        figure.savefig(picture, dpi=100)


if __name__ == "__main__":
    main(*sys.argv[1:])
