"""The programs under trial: a home, an environment and a terminal for each."""
