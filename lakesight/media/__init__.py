"""Hostile bytes in, RGB views out."""
