"""The facts of a run: settings, presets, checks."""
