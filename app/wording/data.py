"""Texts of the Data tab."""

TITLE = "Bring your examples"
HINT = (
    "A table of questions and the answers you would like: Excel, CSV, TSV, JSON Lines, JSON or "
    "Parquet. "
    "Nothing leaves this machine."
)
UPLOAD = "Drop a file here, or click to choose one"
SAMPLE = "Use the sample data"
KEPT = "Your data sets"
KEPT_EMPTY = "Nothing here yet."
NOTHING_TITLE = "From a table to a model of your own, in four steps"
NOTHING_STEPS = (
    (
        "Data",
        "Upload a table with one example a row, or press “Use the sample data” to try everything "
        "with 82 examples that ship with the project.",
    ),
    ("Train", "Leave the settings as they are and press Train; every one of them is explained."),
    ("Runs", "Watch the loss fall. You may close the page meanwhile."),
    ("Playground", "Ask the model before and after, side by side, and take the adapter home."),
)
READING = "Reading the file"
READING_LONG = "The file is being read; its first rows are below."
PEEK_TITLE = "The first rows of the file"
CHECKING = "Checking the rows"

ROLES_TITLE = "Which column is what"
ROLES_HINT = "Guessed from the header. Change a column here and everything below follows."
SHAPE = "What one row is"
SHAPES = {
    "pair": "Question and answer",
    "instruction": "Instruction, input, answer",
    "conversation": "A whole conversation",
    "labelled": "A text and its label",
    "text": "Plain text",
}
ROLE_LABELS = {
    "prompt": "Question",
    "completion": "Answer to learn",
    "instruction": "Instruction",
    "input": "Input (optional)",
    "output": "Answer to learn",
    "system": "System text (optional)",
    "history": "Earlier turns (optional)",
    "messages": "Conversation",
    "text": "Text",
    "text_pair": "Second text (optional)",
    "label": "Label to learn",
}
PREVIEW_TITLE = "The first rows, as the model will see them"
PREVIEW_HINT = "The marked parts are learned; the rest is what the model reads before it."
PREVIEW_EMPTY = "No row can be used with these columns yet."
PROBLEMS = "Problems"
NO_PROBLEMS = "none"
NOT_KNOWN = "–"
ROWS = "Rows to learn from"
ROWS_IN_FILE = "Rows in the file"
FILE = "File"
LEFT_OUT = ("row left out", "rows left out")
PROBLEMS_TITLE = "Rows that are left out"
PROBLEMS_NONE = "Every row can be used."
PROBLEMS_LINE = "Line"
PROBLEMS_WHY = "Why"
PROBLEMS_FIRST = "The first {shown} of {count} are shown."
TO_TRAIN = "Train on this data"
DELETE = "Delete this data set"
DELETE_SURE = (
    "Delete “{name}”? Runs that were trained on it stay; they cannot be trained again without it."
)
DELETE_NEEDED = (
    "“{name}” (run {job}) needs this data set and has not ended: stop it first, or wait for its "
    "end."
)
DELETE_YES = "Yes, delete it"
DELETE_NO = "Keep it"
DELETED = "“{name}” was deleted."
DELETED_NEXT = "“{name}” was deleted; “{next}” is the chosen data set now, for training as well."

ROLE_SYSTEM = "System"
ROLE_USER = "Person"
ROLE_ASSISTANT = "Model"
ROLE_TEXT = "Text"
ROLE_PAIR = "Second text"
ROLE_LABEL = "Label"
LEARNED = "learned"
UNLEARNED = "read, not learned"
EMPTY = "(nothing)"
LINE = "Line {line}"

LEARN_PAIR = "The model reads “{first}” as what a person asks and learns to answer with “{second}”."
LEARN_INSTRUCTION = (
    "The model reads “{first}”{input} as a task and learns to answer with “{second}”."
)
LEARN_INSTRUCTION_INPUT = " together with “{column}”"
LEARN_CONVERSATION = (
    "Each row of “{first}” is a conversation; every turn of the model in it is learned."
)
LEARN_LABEL = "The model reads “{first}”{pair} and learns to give the label in “{label}”."
LEARN_LABEL_PAIR = " together with “{column}”"
LABELS = "label"
MORE_LABELS = "{count} more labels are not shown."
LEARN_TEXT = "The model learns to continue the text of “{first}”, word by word."
LEARN_SYSTEM = " “{column}” is set before each conversation."
UNUSED = "Column {columns} is not used."
UNUSED_SEVERAL = "The columns {columns} are not used."
UNUSED_MORE = " and {count} more"
UNUSED_LABEL = (
    "Column “{column}” is not used. It holds {count} different values: to learn it as a label, "
    "choose “{shape}” below."
)
LEARN_MISSING = "Choose the columns below, so that the model knows what to learn."
