"""The cases of the trial, by program."""
