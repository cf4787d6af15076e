"""Labels of a dataset by URI, and nothing but labels."""
