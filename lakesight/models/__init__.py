"""The catalog, the cards and the model families."""
