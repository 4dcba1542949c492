"""The summary of a run: how it ended, what it scores, and the proof that its weights are permutations."""

import datetime
import importlib.metadata
import math
import os
import platform
from collections.abc import Mapping

import jax
import jax.numpy as jnp
import numpy as np

from laperm_jax.analysis._profiles import profile_similarity
from laperm_jax.lab.config import TrainConfig
from laperm_jax.lab.data.tasks import Language
from laperm_jax.lab.models.generation import continue_text
from laperm_jax.lab.runs import weights
from laperm_jax.lab.runs.run_folder import Summary
from laperm_jax.lab.runs.weights import Weights
from laperm_jax.lab.training.build import Training
from laperm_jax.lab.training.evaluation import Snapshot
from laperm_jax.lab.training.loop import Loop
from laperm_jax.lab.training.seeds import Initial
from laperm_jax.sync._vectors import Axes, weight_vectors

_SAMPLE = 400  # characters that a language model writes at the end of a run


def summarize(config: TrainConfig, training: Training, loop: Loop, initial: Initial, best: Snapshot) -> Summary:
    """Scores the best epoch of a seed on the test examples, and counts its exact vectors.

    Args:
      config: settings, resolved.
      training: the parts of the run.
      loop: the loop, after training.
      initial: what the seed began with.
      best: the epoch with the best validation score.

    Returns:
      What ``summary.json`` holds.
    """
    method, score = training.method, training.task.score
    before, after = (weights.to_numpy(variables.params) for variables in (initial.variables, best.reconnected))
    free = weights.to_numpy(best.free.params)
    exact, total = weights.count_exact_vectors(before, after, method.axes)
    test = lambda variables: training.evaluator.score(variables, training.task.test)
    seconds = loop.train_seconds / loop.seeds
    summary: Summary = {
        "status": loop.status,
        "dataset": config.data.dataset,
        "model": config.model.model,
        "inner": config.optimizer.inner,
        "sync_period": config.sync.sync_period,
        "error_feedback": config.sync.error_feedback,
        "seed": config.seed,
        "seeds_side_by_side": loop.seeds,
        "epochs": math.ceil(loop.step / method.steps_per_epoch),
        "steps": loop.step,
        "syncs": int(jnp.sum(jax.vmap(method.sync_schedule)(jnp.arange(1, loop.step + 1, dtype=jnp.int32)))),
        "best_epoch": best.epoch,
        **best.scores,
        f"test_{score}": test(best.reconnected),
        f"test_{score}_free": test(best.free),
        "profile_similarity_initial": _profile_similarity(before, method.kernel_axes),
        "profile_similarity_free": _profile_similarity(free, method.kernel_axes),
        "exact_vectors": exact,
        "total_vectors": total,
        "params_sha256": weights.fingerprint(after),
        "train_seconds": seconds,
        "compile_seconds": loop.compile_seconds / loop.seeds,
        "examples_per_second": loop.step * config.data.batch_size / max(seconds, 1e-9),
    }
    if config.model.start:
        summary[f"test_{score}_start"] = test(initial.variables)
    if isinstance(training.task, Language):
        vocabulary, params = training.task.vocabulary, best.reconnected.params
        summary["sample"] = continue_text(training.network, params, vocabulary, config.model.context, length=_SAMPLE)
    return summary | environment()


def environment() -> Summary:
    """Date, device and versions, for every result that is written down."""
    device = jax.devices()[0]
    packages = ("laperm-jax", "jax", "jaxlib", "optax", "flax", "numpy")
    return {
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "device": f"{device.device_kind}, {os.cpu_count()} cores" if device.platform == "cpu" else device.device_kind,
        "versions": {
            "python": platform.python_version(),
            **{package: importlib.metadata.version(package) for package in packages},
        },
    }


def _profile_similarity(weights_: Weights, axes: Mapping[str, Axes]) -> float:
    """Mean over kernels, weighted by their sizes."""
    similarity = [profile_similarity(weight_vectors(weights_[path], axes[path])) for path in axes]
    return float(np.average(similarity, weights=[weights_[path].size for path in axes]))
