"""Schema files: the models, reading and writing them, finding them."""
