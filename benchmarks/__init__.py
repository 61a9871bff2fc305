"""Measurements: each file is a program that prints its figures as one JSON line last."""
