"""The Ray side of a model."""
