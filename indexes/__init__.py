"""FAISS: build, publish, search."""
