"""Texts of the frame around the tabs."""

PRODUCT = "LoRA Workbench"
TAGLINE = "Teach a language model from a table of examples, on your own machine."
TAB_DATA = "1  Data"
TAB_TRAIN = "2  Train"
TAB_RUNS = "3  Runs"
TAB_PLAYGROUND = "4  Playground"
THEME_SWITCH = "Switch between light and dark"

NO_NUMBER = "–"
SERVER_LOST = (
    "The page's server does not answer. Runs go on without it; when it is back, this page loads "
    "itself anew."
)
WORKER_HINT = (
    "No worker is running, so queued runs wait. Start everything with “python start.py”, "
    "or the worker alone with “python -m jobs”."
)
UNEXPECTED = (
    "Something unexpected went wrong; nothing you had done is lost. "
    "Try again, and look into logs/web.log in the data folder if it happens again."
)
