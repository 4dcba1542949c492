"""What is read from a finished run."""
