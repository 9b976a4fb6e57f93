"""Texts on what can be done with a finished adapter."""

TITLE = "After training"
RANKS_TITLE = "How much of the rank was used"
RANKS_HINT = (
    "What the pairs learned, taken apart into directions: where few directions hold nearly all of "
    "it, a smaller rank does the same."
)
RANKS = "Measure the ranks"
RANKS_BAR = "rank for 90 % of the energy"
RANKS_MORE = "for 99 %"
RANKS_SPECTRUM = "columns: a module's singular values, each as high as it is of the largest"
RANKS_VALUES = "Singular values {values}"
RANKS_KEPT = "Share of everything learned that rank 1, 2, … alone would keep"
RANKS_ADVICE = (
    "Rank {rank} would hold 90 %, so “Make it smaller” below can cut it to that; the next run on "
    "data like this may begin with rank {rank}."
)
RANK_KEEPS = "Rank {rank} keeps {share}"
SHRINK_TITLE = "Make it smaller"
SHRINK_HINT = "Keeps the strongest directions and measures what the loss says to it."
SHRINK_R = "New rank"
SHRINK_NO_RANK = "Type the new rank first."
SHRINK_RANKS = "This adapter has rank {r}; choose a smaller one, from 1 to {most}."
SHRINK_RANK_1 = "This adapter has rank 1, which cannot be cut."
SHRINK = "Shrink"
SHRUNK_NAME = "{name}, rank {r}"
FURTHER_TITLE = "Teach it more"
FURTHER_HINT = (
    "Opens the Train tab with this adapter as the start and with its settings; choose the data to "
    "go on with there."
)
FURTHER = "Train this adapter further"
FURTHER_SAID = "A run with these settings goes on from “{name}”."
EXPORT_TITLE = "Use it elsewhere"
EXPORT_HINT = (
    "GGUF is for llama.cpp and Ollama: the adapter and a Modelfile. Merged is a whole model with "
    "what was learned inside, for any tool that reads safetensors."
)
EXPORT_HINT_MERGED = (
    "Merged is a whole model with what was learned inside, for any tool that reads safetensors. "
    "Only plain pairs of a model that writes can be a GGUF file."
)
EXPORT_HINT_WHOLE = (
    "This run changed the model's own weights. Merged is a whole model with what was learned "
    "inside, for any tool that reads safetensors."
)
MERGE_HINT_SIZE = "A merged model takes about {size}. "
MERGE_HINT = (
    "It is kept in the run's folder and is deleted with the run; copy it where you need it."
)
GGUF = "Export for Ollama and llama.cpp"
MERGED = "Merge into a full model"
GGUF_LINK = "Download the GGUF zip ({size})"
MERGED_WHERE = "The model is in {path}."
COMBINE_TITLE = "Add it to others"
COMBINE_HINT = "Adapters on the same base model become one that has learned from all of them."
COMBINE_OTHERS = "The other runs"
COMBINE_WEIGHT = "Weight of this one"
COMBINE_WEIGHTS_OTHERS = "Weight of the others"
COMBINE_WEIGHTS_HINT = "0.5, or 0.5, 0.3"
COMBINE_WEIGHTS_BAD = (
    "Type one weight for all other runs, or {count} numbers with commas between, one for each."
)
COMBINE_METHOD = "How"
COMBINE_METHODS = (
    ("SVD: best for its rank", "svd"),
    ("Exact: ranks add up", "cat"),
    ("Linear: rough", "linear"),
)
COMBINE_R = "Rank (empty: the largest)"
COMBINE_R_BAD = "“{text}” is no rank: type a whole number such as 8, or leave it empty."
COMBINE = "Combine"
COMBINE_NONE = "Choose another finished run on the same base model first."
COMBINE_NONE_YET = "There is no other finished run on this base model yet."
COMBINE_SOME = "Choose 2 to {most} runs, and one weight for each."
COMBINE_BASES = "Only adapters of one base model can be added up, but these are for {bases}."
COMBINE_MORE = (
    "“{name}” (run {job}) holds more than low-rank pairs (DoRA, biases, whole modules or a head), "
    "and only pairs can be added up: choose another run."
)
COMBINED_PART = "{weight} × “{name}” (run {job})"
COMBINED = "{sum} in rank {r}: {kept} of the sum is kept."
COMBINED_NAME = "Runs {jobs} combined"
BRING_TITLE = "Bring an adapter"
BRING_HINT = (
    "A zip or folder in PEFT's format, made by any tool: it is checked against its base model and "
    "can then be compared, exported and trained further."
)
BRING_FILE = "Choose a zip"
BRING_PATH = "Or the path of a folder or zip"
BRING_BASE = "Base model (empty: the one it names)"
BRING_BITS = "Base model held in"
BRING_BITS_CHOICES = (("what the adapter says", ""), ("16 or 32 bits", "none"))
BRING_BITS_HELP = (
    "How the base model was held while the adapter was trained, which PEFT's files do not say: "
    "choose 4 bits (NF4) for a QLoRA adapter."
)
BRING = "Check and add"
BRING_NONE = "There is no adapter at {path}."
BRING_NOTHING = "Choose a zip or type a path first."
BRING_ONE = "Give a zip or a path, not both."
BROUGHT = "“{name}” is in the list of runs now."
ELSEWHERE = "elsewhere"
NOT_ENDED = "Run {job} has not ended yet: wait until it has, or stop it."
ORIGIN_SHRUNK = "Shrunk from run {job} to rank {r}."
ORIGIN_COMBINED = "Combined from the runs {jobs}."
ORIGIN_BROUGHT = "Trained elsewhere and brought in."
WORKING = "Working"
MADE = "It stands in the list as run {job}."
OPEN_MADE = "Show it"
