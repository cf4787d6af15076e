"""Is this batch as the schema says? Pure NumPy: no I/O, no framework."""
