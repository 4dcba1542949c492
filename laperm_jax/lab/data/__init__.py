"""Examples: datasets, augmentation, tasks."""
