"""Experiments: grids of runs, the claims they answer, and a report."""
