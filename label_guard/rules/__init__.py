"""What can be wrong, by code: the registry, the values that tell it, the page of each rule."""
