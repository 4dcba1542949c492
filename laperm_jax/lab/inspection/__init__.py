"""Inspection of finished runs and weight files."""
