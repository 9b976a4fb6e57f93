"""Texts on answering a whole file."""

TITLE = "Answer a whole file"
HINT = (
    "Each row is answered, and the answer stands in a new column beside the row's own. Questions "
    "alone are enough; where the file also has the expected answers, they are compared."
)
HINT_TEXT = "Each text of the file is gone on with, and that stands in a new column beside it."
HINT_LABELS = (
    "Each row gets a label and its probability, in new columns beside the row's own. Texts alone "
    "are enough; where the file also has labels, they are compared."
)
DATA = "Data set"
CHOOSE_FILE = "Or choose a file"
UPLOADED = "{name} (from your disk)"
LIMIT = "Rows at most (empty: all)"
LONGEST = "Longest answer, in tokens"
WITH_BASE = "The base model's answer beside it"
ANSWER = "Answer the rows"
STOP = "Stop"
STOPPING = "It stops, and keeps what is done"
NO_DATA = "Choose a data set or a file first."
AT_WORK = (
    "A file is being answered by this run. What comes of it will be here when you open the run "
    "again."
)
ALREADY = "This run answers a file already: wait until that is done, or stop it."
FIRST_ROWS = "The first rows"
LINK = "Download the answers ({size})"
