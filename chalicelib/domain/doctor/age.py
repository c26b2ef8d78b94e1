"""How long ago something was, in words. Pure."""

from __future__ import annotations

from datetime import timedelta


def ago(age: timedelta) -> str:
    """`3 min ago`, `5 h ago`, `4 days ago`; what is in the future is now."""
    minutes = max(0, int(age.total_seconds() // 60))
    if minutes < 120:
        return f"{minutes} min ago"
    return f"{minutes // 60} h ago" if minutes < 48 * 60 else f"{minutes // 1440} days ago"
