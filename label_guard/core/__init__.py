"""What every package uses and that knows nothing of labels: trees, dtype names, escaping."""
