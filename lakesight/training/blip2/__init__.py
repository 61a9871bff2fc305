"""Training of BLIP-2, in plain torch."""
