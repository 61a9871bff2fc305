"""The HTTP application: an ASGI app that knows nothing of Ray nor of indexes."""
