"""Training of YOLOs: labelled pictures, losses, and the job as a whole."""
