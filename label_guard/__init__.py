"""Checks labels in the input pipeline, before they reach a JAX loss that cannot raise."""
