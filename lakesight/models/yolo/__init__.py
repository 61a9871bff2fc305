"""The anchor-free YOLO in the public v8 layout: five tasks, in plain torch."""
