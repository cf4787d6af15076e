"""The folder of bad records: append, read back exactly once, export, check again."""
