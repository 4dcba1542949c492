"""The folder of a run: files, checkpoints, weights."""
