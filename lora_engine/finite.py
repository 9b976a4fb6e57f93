"""Numbers that JSON knows."""

import math
from typing import Any


def finite(value: Any) -> Any:
    """JSON knows no infinity and no NaN; they become null."""
    match value:
        case float() if not math.isfinite(value):
            return None
        case dict():
            return {key: finite(item) for key, item in value.items()}
        case list() | tuple():
            return [finite(item) for item in value]
        case _:
            return value
