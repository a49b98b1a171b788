"""Injection: texts that aim at something."""
