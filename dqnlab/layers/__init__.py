"""Layers that Haiku lacks, or has in a form too slow for this project."""
