"""The library: knows nothing of Ray, importable in a notebook."""
