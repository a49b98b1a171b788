"""History: the journals of all processes of a trial, and the checker that judges by them alone."""
