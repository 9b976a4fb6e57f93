"""The web process's log: the data folder's logs/web.log, and warnings on stderr."""

import logging
from logging.handlers import RotatingFileHandler
from pathlib import Path

LOG_BYTES = 2_000_000


def log_path(home: Path) -> Path:
    """Where the web process writes what went wrong."""
    return home / "logs" / "web.log"


def start_logging(home: Path) -> None:
    """Send the page's messages to the log file, and what is serious to stderr too."""
    path = log_path(home)
    path.parent.mkdir(parents=True, exist_ok=True)
    to_file = RotatingFileHandler(path, maxBytes=LOG_BYTES, backupCount=2, encoding="utf-8")
    to_file.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    to_terminal = logging.StreamHandler()
    to_terminal.setLevel(logging.WARNING)
    logger = logging.getLogger("app")
    logger.setLevel(logging.INFO)
    logger.handlers = [to_file, to_terminal]
    logger.propagate = False
