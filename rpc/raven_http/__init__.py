"""The HTTP bridge of raven: the bus for curl, browsers and any program with an HTTP client, and a page to watch it."""
