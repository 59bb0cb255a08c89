"""Formats that a classifier leaves in, and the proof that it arrives the same."""
