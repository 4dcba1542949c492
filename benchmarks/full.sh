#!/usr/bin/env bash
# The experiments at full scale, in slices: stops after nine minutes, or what LIMIT says, in seconds, and resumes when
# it is called again, in the middle of a run too. Names of experiments may be given.
# Needs a GPU to be of use, and the data prepared in TFDS_DATA_DIR. Results go to results/NAME/full.jsonl, or to
# $RESULTS/NAME/full.jsonl.
#
#   benchmarks/full.sh single-sync sync-period
set -euo pipefail
cd "$(dirname "$0")/.."
export PYTHONPATH="$PWD${PYTHONPATH:+:$PYTHONPATH}"
end=$((SECONDS + ${LIMIT:-540}))
for name in "${@:-paper-table single-sync sync-period gamma-beta-reset language scale large vision-transformer}"; do
  for experiment in $name; do
    left=$((end - SECONDS))
    ((left > 0)) || { echo "full.sh: time is up before $experiment; call again to resume" >&2; exit 0; }
    # Interrupted as by Ctrl-C, which saves the run in progress; killed if that is not heard.
    status=0
    timeout --signal INT --kill-after 20 "$left" python3 -m laperm_jax.lab.cli.app experiment run "$experiment" --scale full \
      --results "${RESULTS:-results}" || status=$?
    case $status in
      0) ;;
      124 | 130 | 137) echo "full.sh: time is up in $experiment; call again to resume" >&2; exit 0 ;;
      *) exit "$status" ;;
    esac
  done
done
