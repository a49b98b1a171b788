"""Actors: the processes of the trials."""
