"""Units: spans of time, sizes and rates, short enough for a table."""

from __future__ import annotations


def span(seconds: float | None) -> str:
    """Return a span of time in its largest unit, "-" for none."""
    if seconds is None:
        return "-"
    for size_s, unit in ((86400, "d"), (3600, "h"), (60, "m")):
        if seconds >= size_s:
            return f"{seconds / size_s:.0f}{unit}"
    return f"{seconds:.1f}s" if seconds >= 1 else f"{1000 * seconds:.1f}ms"


def size(count: float) -> str:
    """Return a number of bytes in its largest unit."""
    if count < 1024:
        return f"{count:.0f} B"
    for unit in ("KiB", "MiB", "GiB"):
        count /= 1024
        if count < 1024:
            return f"{count:,.1f} {unit}"
    return f"{count / 1024:,.1f} TiB"


def rate(per_second: float) -> str:
    """Return a number of events per second; one in a minute does not look like nothing."""
    return (
        f"{per_second:,.0f}" if per_second >= 100 else f"{per_second:.1f}" if per_second >= 10 else f"{per_second:.2f}"
    )
