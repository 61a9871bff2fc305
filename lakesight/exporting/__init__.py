"""From a YOLO model folder to the files of other engines, each held against torch."""
