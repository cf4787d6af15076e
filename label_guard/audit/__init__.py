"""Every label of a dataset, folded into one report."""
