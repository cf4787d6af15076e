"""The guard over a stream of elements, without any framework."""
