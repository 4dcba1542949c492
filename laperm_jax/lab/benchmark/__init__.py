"""Sync latency, peers, and what compiled programs hold."""
