"""Texts of the Train tab. The advice follows the LoRA paper and common practice."""

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
MODEL_NONE = "Choose a base model first."
INSPECTING = "Reading the structure of {model} …"
MODEL_FACTS = "{architecture}, {parameters} parameters, {modules} that can be adapted."
NAME = "Name of the run (optional)"
NAME_HELP = "How the run is called in the list; empty means the data set's name."
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
    "thorough": "Rank 16 on every linear layer, four passes: slower, for harder or mixed tasks.",
}
PRESET_OWN = "You have changed these settings; press a card to go back to one of the three."

ADAPTER_TITLE = "The adapter"
ADAPTER_HINT = (
    "The base model stays as it is; small pairs of matrices beside chosen layers are trained."
)
TARGETS = "Target modules"
TARGETS_HELP = (
    "The layers that get a trainable pair. Query and value give most of the effect for the "
    "fewest parameters; take all of them for harder tasks."
)
TARGETS_USUAL = "Query and value"
TARGETS_ALL = "Every linear layer"
ADVANCED = "Advanced settings"

FIELDS: dict[str, tuple[str, str]] = {
    "lora.r": (
        "Rank r",
        "How many directions each adapted layer can learn. Start with 8; take 16 or more for hard "
        "or mixed tasks and many rows, 4 for a simple change of tone.",
    ),
    "lora.lora_alpha": (
        "Alpha α",
        "How strongly the adapter counts: its output is scaled by α / r. One to two times the "
        "rank is usual; lower it if answers overdo what was learned.",
    ),
    "lora.lora_dropout": (
        "Dropout",
        "Share of the adapter's input that is ignored at random while training. 0.05 to 0.1 "
        "keeps a small data set from being learned by heart; 0 is fine for large ones.",
    ),
    "lora.target_modules": (TARGETS, TARGETS_HELP),
    "lora.bias": (
        "Bias",
        "Whether bias vectors are trained too. Leave it at none unless you know why: models "
        "without bias vectors gain nothing.",
    ),
    "learning_rate": (
        "Learning rate",
        "How big each step is. Lower it if the loss jumps up or the answers turn to nonsense; "
        "raise it if hardly anything changes.",
    ),
    "epochs": (
        "Epochs",
        "How often each row is seen. Fewer if the validation loss starts to rise, more if it is "
        "still falling at the end.",
    ),
    "max_steps": (
        "Stop after (updates)",
        "Ends the run after this many updates, whatever the epochs say. Empty means no limit.",
    ),
    "batch_size": (
        "Batch size",
        "Rows per pass. Larger is steadier and needs more memory; halve it when memory runs out.",
    ),
    "gradient_accumulation_steps": (
        "Gradient accumulation",
        "Batches that are added up before one update: the effect of a larger batch size without "
        "its memory.",
    ),
    "warmup_ratio": (
        "Warm-up",
        "Share of the run in which the learning rate rises from zero. 0.03 to 0.1 makes the "
        "start gentler.",
    ),
    "schedule": (
        "Schedule",
        "How the learning rate falls after the warm-up. Linear is a safe choice; cosine stays "
        "high longer, constant suits very short runs.",
    ),
    "weight_decay": (
        "Weight decay",
        "Pulls the adapter's weights towards zero. Usually 0; try 0.01 when a small data set is "
        "learned by heart.",
    ),
    "max_grad_norm": (
        "Gradient clipping",
        "The longest step direction that is allowed; 1 tames outliers, 0 turns clipping off.",
    ),
    "max_length": (
        "Maximum length (tokens)",
        "Longer rows are cut here. Shorter is faster and needs less memory; check that your "
        "answers still fit.",
    ),
    "validation_share": (
        "Validation share",
        "Rows that are held back to measure what was really learned. 0.1 is good; 0 trains on "
        "everything and measures nothing.",
    ),
    "seed": (
        "Seed",
        "The start of all random choices. The same seed gives the same run again; change it to "
        "see how much was luck.",
    ),
    "precision": (
        "Precision",
        "Number format of the frozen model. Auto takes the fast one where the machine has it; "
        "fp32 is the most exact and the slowest.",
    ),
    "fast": (
        "Fast ways",
        "Takes faster ways to the same result where model and machine allow it. Switch it off "
        "only to rule them out when a run behaves strangely.",
    ),
}
EMPTY_NUMBER = "{label} is empty; type a number."

COUNTS_TITLE = "What will be trained"
TRAINABLE = "trainable parameters"
OF_TOTAL = "{percent} of {total}"
ADAPTER_SIZE = "Adapter file"
BY_MODULE = "By target module"
BIASES = "bias vectors"
COUNTS_WAIT = "The counts appear when a model is chosen."
SCALING = "Scaling α / r"

ESTIMATE_TITLE = "This run"
ESTIMATE = "{epochs} × {rows} / {batch} = {updates}"
ESTIMATE_LIMITED = "stopped after {updates} (otherwise {planned})"
ESTIMATE_VALIDATION = "{validation} held back to measure"
START = "Train"
STARTED = "Run {job} is in the queue."
SAVE = "Save settings"
LOAD = "Load settings"
LOAD_NOT_JSON = "This is not a settings file: choose the JSON file that “Save settings” made."
LOADED = "The settings of “{name}” were loaded."
LOADED_NO_DATA = " Its data set is no longer here; choose another one."
SETTINGS_FILE = "lora-settings.json"
