"""Which tests share a process where several run side by side (``pytest -n 2``)."""

import pytest
from xdist.remote import Producer
from xdist.scheduler import LoadScopeScheduling

BROWSER = "tests/browser/"


class BySharing(LoadScopeScheduling):
    """Each file whole, as its tests share models and pages; the browser's tests all in one.

    Those mostly wait for the one page that they share, and the other process works meanwhile.
    """

    def __init__(self, config: pytest.Config, log: Producer) -> None:
        config.option.loadscopereorder = False
        super().__init__(config, log)

    def _split_scope(self, nodeid: str) -> str:
        return BROWSER if nodeid.startswith(BROWSER) else nodeid.split("::", 1)[0]
