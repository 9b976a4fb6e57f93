"""Texts of the Train tab, but for those of its fields."""

WHAT_TITLE = "What to train"
DATASET = "Data set"
DATASET_HELP = "The examples to learn from; add more on the Data tab."
DATASET_NONE = "Choose a data set first: upload one on the Data tab, or use the sample data there."
DATASET_EMPTY = (
    "No row of “{name}” can be used, so there is nothing to learn; look at its columns and "
    "problems on the Data tab."
)
MODEL = "Base model"
MODEL_HELP = (
    "Choose a starter model, or type the path of a model folder or a Hugging Face hub id and "
    "press Enter. Only safetensors files are used, and no code from a model is ever run."
)
MODEL_FOR = {
    "chat": "{title} (answers)",
    "classification": "{title} (labels)",
    "seq2seq": "{title} (rewriting)",
}
"""A model in the list, by what it is for."""
MODEL_NONE = "Choose a base model first."
INSPECTING = "Reading the structure of {model} …"
MODEL_FACTS = "{architecture}, {parameters} parameters, {modules} that can be adapted."
NAME = "Name of the run (optional)"
NAME_PLACEHOLDER = "e.g. House style, first try"

PRESETS_TITLE = "How thoroughly"
PRESETS_HINT = "Three settings to start from; every one of them can be changed below."
PRESETS = {
    "quick": "Quick look",
    "balanced": "Balanced",
    "thorough": "Thorough",
}
PRESET_HELP = {
    "quick": "At most 20 updates on short rows: shows in minutes whether everything fits together.",
    "balanced": "Rank 8 on query and value, three passes: the right start for most data sets.",
    "thorough": "Rank 16 on every linear layer, four passes, the best of them kept: slower, for "
    "harder or mixed tasks.",
}
PRESET_OWN = "You have changed these settings; press a card to go back to one of the three."

ADAPTER_TITLE = "The adapter"
ADAPTER_HINT = (
    "The base model stays as it is; small pairs of matrices beside chosen layers are trained."
)
TARGETS_USUAL = "Query and value"
TARGETS_ALL = "Every linear layer"
ADVANCED = "Advanced settings"

NONE = "none"
BAD_LAYERS = "“{text}” is no layer number: write numbers and ranges such as 0-5, 8."
BAD_PATTERNS = "“{text}” is not of the form name = number, such as v_proj = 16."
BAD_REGEX = "“{text}” is no regular expression ({reason})."
EMPTY_NUMBER = "{label} is empty; type a number."

NO_START = "There is no adapter at {path}: choose a finished run or the path of a folder or zip."
EMBEDDING = "embedding"
HEAD = "output head"
TIED_HEAD = "output head, tied to the embedding"
WHOLE = "trained whole"
IN_PLACE = "the model's own weights"
SAVED_SIZE = "Saved weights"
MODEL_FOLLOWS = "{title} was chosen, because it is made for data like this."

COUNT_BAR = "{trainable} trainable, {percent}, {size}"
COUNTS_TITLE = "What will be trained"
TRAINABLE = "trainable parameters"
OF_TOTAL = "{percent} of {total}"
ADAPTER_SIZE = "Adapter file"
BY_MODULE = "By target module"
BIASES = "bias vectors"
BLANK = "–"
COUNT_BAR_INVALID = "– trainable: a setting cannot be used"
COUNTS_INVALID = "A setting cannot be used: {problem}"
COUNTS_WAIT = "The counts appear when a model is chosen."
MEMORY = "Memory, before any row"
MEMORY_SHORT = (
    "This needs {needs} before any row is read, and the machine has {has}: choose a smaller model, "
    "or keep the base in 4 bits (Method, among the advanced settings)."
)
SCALING = "Scaling α / r"
SCALING_ROOT = "Scaling α / √r"

ESTIMATE_TITLE = "This run"
ESTIMATE = "{epochs} of {each} ({rows} in batches of {batch}) = {updates}"
ESTIMATE_PIECES = (
    "Long texts are learned in pieces of {length} tokens, here about {pieces}, which count as rows."
)
ESTIMATE_LIMITED = "stopped after {updates}"
ESTIMATE_VALIDATION = "{validation} held back to measure"
ESTIMATE_FEW_ROWS = (
    "Only {rows} to learn from: a few dozen is the least from which a model learns a manner."
)
ESTIMATE_FEW_UPDATES = (
    "Only {updates}: the model will hardly change. More epochs or a smaller batch make more."
)
START = "Train"
SAVE = "Save settings"
LOAD = "Load settings"
LOAD_NOT_JSON = "This is not a settings file: choose the JSON file that “Save settings” made."
LOADED = "The settings of “{name}” were loaded."
LOADED_ROLES = (
    " The columns of its data set meant something else then. As they are now: {learned} They can "
    "be changed on the Data tab."
)
LOADED_NO_DATA = " Its data set is no longer here; choose another one."
SETTINGS_FILE = "lora-settings.json"
