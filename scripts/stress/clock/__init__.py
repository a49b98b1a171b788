"""Clock: steps of the calendar clock."""
