"""Distances between two images: pure functions, arrays in, numbers out."""
