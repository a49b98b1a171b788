"""The trial of a hostile client behind a bound socket, beside honest ones."""
