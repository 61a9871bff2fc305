"""Mirrors the packages; a package itself for the few helpers that several tests share."""
