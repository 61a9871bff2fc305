"""What executes a model file: one protocol, several engines."""
