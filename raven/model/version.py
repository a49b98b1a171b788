"""Version: the one of this distribution; its build reads it here."""

__version__ = "0.3.0"
