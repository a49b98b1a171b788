"""Trials: what raven promises, while everything goes wrong."""
