"""Pictures of what is inside a net: one file for each, `draw(subject, ...) -> Figure`."""
