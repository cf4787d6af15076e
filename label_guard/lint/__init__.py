"""What is wrong with a schema file."""
