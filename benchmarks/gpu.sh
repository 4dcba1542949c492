#!/usr/bin/env bash
# What a sync costs on an NVIDIA GPU: every model, the scaling series up to a billion weights, and the peers installed.
# Installs nothing: needs jax (with CUDA), flax, optax and the other packages of the extra [lab] that `laperm bench`
# imports. Results go to benchmarks/results/DEVICE. At most nine minutes, or what LIMIT says, in seconds.
#
#   benchmarks/gpu.sh
set -euo pipefail
cd "$(dirname "$0")/.."
export PYTHONPATH="$PWD" XLA_PYTHON_CLIENT_PREALLOCATE=false TF_CPP_MIN_LOG_LEVEL=3
device=$(python3 -c 'import jax; gpu = jax.devices("gpu")[0]; print(gpu.device_kind.lower().replace(" ", "-"))') ||
  { echo "gpu.sh: jax finds no NVIDIA GPU here; install jax[cuda] on a machine that has one" >&2; exit 2; }
timeout "${LIMIT:-540}" python3 -m laperm_jax.lab.cli.app bench --peers --largest 1000000000 --repeats 21 \
  --out "${OUT:-benchmarks/results}/$device"
