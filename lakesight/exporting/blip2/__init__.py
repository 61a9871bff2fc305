"""BLIP-2 as ONNX: the graphs, their weights in fewer bits, and whether they say what torch says."""
