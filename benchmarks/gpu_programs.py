"""Counts what an H100 would copy, in programs compiled for one on this machine: nothing is run, and no GPU is needed.

    pip install --no-deps --target cuda jax-cuda12-plugin==VERSION jax-cuda12-pjrt==VERSION  # the version of jax
    JAX_SKIP_CUDA_CONSTRAINTS_CHECK=1 JAX_PLATFORMS=cpu PYTHONPATH=cuda python benchmarks/gpu_programs.py

A network of four convolutions and two dense layers is trained in a loop on the device. Of one turn without a sync it
prints the copies, in the loop and in the branch that does not sync, with that as the false branch and as the true one.
"""

import re
from typing import Any
from unittest import mock

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax
from jax import lax
from jax.experimental import topologies
from jax.sharding import SingleDeviceSharding
from tpu import apply_gradients

from laperm_jax import flax_fan_in, laperm

H100 = """
gpu_device_info {
  threads_per_block_limit: 1024 threads_per_warp: 32 shared_memory_per_block: 49152 shared_memory_per_core: 233472
  threads_per_core_limit: 2048 core_count: 132 fpus_per_core: 128 block_dim_limit_x: 2147483647 block_dim_limit_y: 65535
  block_dim_limit_z: 65535 memory_bandwidth: 3352320000000 l2_cache_size: 52428800 clock_rate_ghz: 1.98
  device_memory_size: 84942979072 shared_memory_per_block_optin: 232448 cuda_compute_capability { major: 9 }
  registers_per_core_limit: 65536 registers_per_block_limit: 65536
}
platform_name: "CUDA" dnn_version_info { major: 9 minor: 8 } device_description_str: "NVIDIA H100 80GB HBM3"
"""
INPUTS = jax.ShapeDtypeStruct((50, 16, 16, 16), jnp.float32)


class ConvNet(nn.Module):
    @nn.compact
    def __call__(self, inputs: jax.Array) -> jax.Array:
        for features in (64, 64, 128, 128):
            inputs = nn.relu(nn.Conv(features, (3, 3))(inputs))
        hidden = nn.relu(nn.Dense(256)(inputs.mean((1, 2))))
        return nn.Dense(10)(hidden)


def compiled_loop(tx: Any, sharding: SingleDeviceSharding) -> str:
    """The program of a loop of training steps."""

    def loss_fn(params: Any, inputs: jax.Array) -> jax.Array:
        return jnp.square(ConvNet().apply({"params": params}, inputs)).mean()

    def run(params: Any, opt_state: Any, inputs: jax.Array, steps: jax.Array) -> Any:
        def step(_: Any, carry: Any) -> Any:
            params, opt_state = carry
            grads = jax.grad(loss_fn)(params, inputs)
            return apply_gradients(tx, grads, opt_state, params)

        return lax.fori_loop(0, steps, step, (params, opt_state))

    params = jax.eval_shape(ConvNet().init, jax.random.key(0), INPUTS)["params"]
    arguments = params, jax.eval_shape(tx.init, params), INPUTS, jax.ShapeDtypeStruct((), jnp.int32)
    on_gpu = lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding)
    return jax.jit(run, donate_argnums=(0, 1)).lower(*jax.tree.map(on_gpu, arguments)).compile().as_text()


def copies(program: str, name: str) -> int:
    """How many copies the computation of that name makes."""
    start = program.index(f"\n{name} ")
    return len(re.findall(r" copy\(", program[start : program.index("\n}", start)]))


def main() -> None:
    topology = topologies.get_topology_desc(platform="cuda", topology_name="h100", topology="1x1x1", target_config=H100)
    sharding = SingleDeviceSharding(topology.devices[0])
    adam = optax.adam(1e-3)
    program = compiled_loop(adam, sharding)
    body = re.compile(r" while\(.*body=(%[\w.\-]+)")
    print(f"Adam alone: {copies(program, body.search(program)[1])} in the loop")
    for backend, branch in (("cpu", "false"), ("gpu", "true")):
        with mock.patch.object(jax, "default_backend", lambda backend=backend: backend):
            program = compiled_loop(laperm(adam, 100, fan_in_axes=flax_fan_in), sharding)
        no_sync = re.search(rf"{branch}_computation=(%[\w.\-]+)", program)
        in_loop, in_branch = (copies(program, found[1]) for found in (body.search(program), no_sync))
        print(f"LaPerm, no sync the {branch} branch: {in_loop} in the loop, {in_branch} in the branch")


if __name__ == "__main__":
    main()
