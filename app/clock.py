"""Times and sizes in words."""

from datetime import datetime


def duration(seconds: float) -> str:
    """``8 s``, ``3 min 20 s``, ``1 h 05 min``."""
    whole = max(0, round(seconds))
    if whole < 60:
        return f"{whole} s"
    minutes, rest = divmod(whole, 60)
    if minutes < 60:
        return f"{minutes} min {rest:02d} s" if rest else f"{minutes} min"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02d} min"


def moment(unix_seconds: float) -> str:
    """A moment in the machine's own time zone: ``22 Nov, 21:05``."""
    at = datetime.fromtimestamp(unix_seconds).astimezone()
    return f"{at.day} {at:%b}, {at:%H:%M}"


def megabytes(value: float) -> str:
    """A size given in MB of 10**6 bytes: ``830 MB``, ``2.1 GB``."""
    return f"{value / 1000:.1f} GB" if value >= 1000 else f"{value:.0f} MB"


def file_size(size: int) -> str:
    """A size given in bytes: ``640 KB``, ``1.9 MB``, ``2.1 GB``."""
    if size >= 1_000_000_000:
        return f"{size / 1_000_000_000:.1f} GB"
    if size < 1_000_000:
        return f"{max(1, round(size / 1000))} KB"
    return f"{size / 1_000_000:.1f} MB"


def speed_text(tokens_per_second: float) -> str:
    """``1,240``, ``20``, ``1.3``: a speed below ten with one decimal."""
    return f"{tokens_per_second:,.0f}" if tokens_per_second >= 9.5 else f"{tokens_per_second:.1f}"
