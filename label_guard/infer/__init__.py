"""A draft schema from metadata or from the data."""
