"""The starvation trial: writers with long transactions back to back, beside honest ones."""
