"""The audit on a distributed engine."""
