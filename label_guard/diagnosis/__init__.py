"""Mergeable statistics of labels, and the likely cause of what is wrong with them."""
