"""Training in plain torch: data, assignment, losses, the loop."""
