"""Object stores, manifests and committed outputs."""
