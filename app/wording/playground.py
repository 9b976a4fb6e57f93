"""Texts of the Playground tab."""

RUN = "Finished run"
OTHERS = "Compare with (up to {most} more)"
OTHERS_HELP = (
    "Other finished runs on the same base model, quantised alike; each gets a column of its own."
)
TOO_MANY = "Choose at most {most} runs to compare with."
SEVERAL_BASES = "Only runs on one base model can be compared; choose others."
SEVERAL_FORMS = (
    "These runs quantised the base differently, and each answers as trained only on its own base; "
    "choose runs that are quantised alike."
)
SEVERAL_KINDS = (
    "Runs that write and runs that sort texts cannot be compared with each other; choose others."
)
SORTS_ONLY = "A run that sorts texts takes no system text and no earlier turns."
HISTORY_SIDES = (
    "In history each content must be one text, or a list of {count}: the base's and one an adapter."
)
NONE_TITLE = "No finished run yet"
NONE_HINT = "Train an adapter first; when its run is finished, compare it here with the base model."
CHOOSE_RUN = "Choose a finished run first."
NO_ADAPTER = "Run {job} has no adapter yet."

BASE = "Base model"
ADAPTED = "With your adapter"
RANK = "rank {r}"
RUN_HINT = "run {job}, {how}"
BASE_HINT = "as it was before the training"
ADAPTED_HINT = "the same model with what it learned"
BASE_HEAD_HINT = "with a head that was never trained: it can only guess"
BASE_BITS = "; in {bits} on every side, as in the run"
EMPTY_LABELS = "The labels appear here."
PAIR = "Second text"
TEXT = "Text"
TEXT_PLACEHOLDER = "A text to sort"
EMPTY_SIDE = "The answer appears here."
WAITING = "…"

PROMPT = "Your message"
PROMPT_PLACEHOLDER = "Ask both the same question"
PROMPT_PLACEHOLDER_ALL = "Ask all of them the same question"
EMPTY_PROMPT = "Type a message first."
SEND = "Send to both"
SEND_ALL = "Send to all {count}"
SORT = "Sort with both"
SORT_ALL = "Sort with all {count}"
STOP = "Stop"
CLEAR = "Start over"
EXAMPLES = "From the run's own data"

OPTIONS = "How answers are written"
SYSTEM = "System text (optional)"
SYSTEM_HELP = "Set before the conversation on both sides."
TEMPERATURE = (
    "Temperature",
    "0 always takes the likeliest word; higher is more surprising.",
)
LONGEST = (
    "Longest answer",
    "In tokens, where a token is about three quarters of a word; longer answers are cut.",
)
STRENGTH = ("Adapter strength", "0 is the base model, 1 is as trained, above 1 exaggerates.")
SEED = (
    "Seed",
    "With a temperature above 0, the same seed draws the same words on both sides.",
)

DIVERGENCE_NONE = (
    "The adapter changes practically nothing on this prompt (mean KL {value}). Train longer, raise "
    "the learning rate or the rank, or ask something that is closer to the examples."
)
DIVERGENCE_SLIGHT = "The adapter changes this answer slightly (mean KL {value})."
DIVERGENCE_CLEAR = "The adapter clearly changes this answer (mean KL {value})."
DIVERGENCE_STRONG = "The adapter changes this answer very much (mean KL {value})."
DIVERGENCE_SHORT = (
    "changes practically nothing",
    "changes it slightly",
    "clearly changes it",
    "changes it very much",
)
DIVERGENCE_LEAST = "below {least}"
DIVERGENCE_OF = "{said} (KL {value})"
DIVERGENCE_MEANING = (
    "KL: mean distance of the two models over the first answer tokens, in nats; 0 is no difference."
)
SPEED = "{value} tokens/s"
STOPPED = "stopped"
NOT_WHOLE = "The answer was ended before it was whole: ask again."
CUT = f"Cut at the longest answer; choose a longer one under “{OPTIONS}”, if the model has room."
BUSY = "Starting"
