"""Texts of the Runs tab."""

TITLE = "Runs"
LIST_EMPTY = "Nothing here yet."
EMPTY_TITLE = "No runs yet"
EMPTY_HINT = "Choose data and settings on the Train tab and press Train; the run appears here."
CHOOSE_TITLE = "No run chosen"
CHOOSE_HINT = "Choose a run from the list to see how it went."

SIGN_IDLE = "Nothing is training"
SIGN_NO_WORKER = "No worker"
SIGN_MORE = "+{count} waiting"

STATUS = {
    "queued": "Waiting",
    "running": "Training",
    "succeeded": "Finished",
    "failed": "Failed",
    "cancelled": "Stopped",
}
STOPPING = "Stopping"
PHASES = {
    "": "Starting",
    "fetching": "Fetching the model",
    "preparing": "Preparing",
    "training": "Training",
    "evaluating": "Measuring",
    "saving": "Saving the adapter",
}
QUEUE_PLACE = "Number {place} in the queue."
QUEUE_NEXT = "Next in the queue."
STOPPING_HINT = "Stopping after this update; what was learned so far is kept."

STEP = "Update"
LOSS = "Training loss"
EVAL_LOSS = "Validation loss"
ACCURACY = "Accuracy"
MACRO_F1 = "Macro F1"
SPEED = "Speed"
SPEED_VALUE = "{value} tokens/s"
MEMORY = "Memory"
LEFT = "Time left"
TOOK = "From start to end"

CHART_TITLE = "Loss"
CHART_HINT = "How surprised the model is by the right answer, in nats. Lower is better."
CHART_EMPTY = "The chart begins with the first update."
CHART_TRAIN = "Training"
CHART_SMOOTH = "Training, smoothed"
CHART_RAW = "each update"
CHART_VALIDATION = "Validation"
CHART_ACCURACY = "Accuracy, right scale"
CHART_F1 = "macro F1"
CHART_X = "updates"
CHART_LABEL = "Loss over {steps} updates: training {loss}, validation {eval_loss}."
CHART_LABEL_ACCURACY = " Accuracy on the validation rows {accuracy}."
CHART_NO_VALUE = "not measured"

STOP = "Stop"
RESUME = "Resume"
AGAIN = "Train again"
DELETE = "Delete"
DELETE_SURE = (
    "Delete “{name}”, its log, its adapter and what was exported or merged from it? This cannot be "
    "undone."
)
DELETE_NEEDED = (
    "“{name}” (run {job}) begins with this one's adapter and has not ended: stop it first, or wait "
    "for its end."
)
WORKED_ON = "This run's adapter is being measured or exported: wait until that is done."
DELETE_YES = "Yes, delete it"
DELETE_NO = "Keep it"
DELETED = "“{name}” was deleted."
DELETE_ANOTHER = "Nothing was deleted: the question was about another run than the one shown now."
PLAYGROUND = "Try it in the playground"
DOWNLOAD = "Download the adapter (zip, {size})"
STOPPED_WAITING = (
    "This run was taken out of the queue before it started, so nothing was learned. Resume puts "
    "it back."
)
STOPPED_WAITING_KEPT = (
    "This run was taken out of the queue before it went on. What it had learned until its last "
    "checkpoint is kept: Resume goes on from there."
)
STOPPED_WAITING_LOST = (
    "This run was taken out of the queue before it started again. It has no checkpoint: Resume "
    "begins anew."
)
STOP_DONE = "The run was taken out of the queue."
RESUMED = "The run is in the queue again and goes on from its last checkpoint."
RESUMED_ANEW = "The run is in the queue again and begins anew: it has no checkpoint."
RESUME_NO_DATA = (
    "The data of this run are no longer kept: Resume fails, unless the same file is added on the "
    "Data tab first."
)
RESUME_SAME = "Resume keeps the settings of this run. Where they are the cause, press Train again."
REFILLED = "These are the settings of “{name}”."
LOG = "Log"
LOG_EMPTY = "The log is empty so far."
SETTINGS = "Settings of this run"
SETTINGS_DATA = "The data set is “{name}”."
SETTINGS_NO_DATA = "The data set is no longer kept."

RESULT_TITLE = "What came of it"
RESULT_FELL = (
    "The loss on {rows} the model had never seen fell from {before} to {after}: it has learned "
    "something that holds beyond the examples."
)
RESULT_SAME = (
    "The loss on {rows} the model had never seen hardly moved ({before} to {after}). Train "
    "longer, raise the learning rate or the rank, or add examples."
)
RESULT_ROSE = (
    "The loss on {rows} the model had never seen rose from {before} to {after}: the examples are "
    "being learned by heart. Use fewer epochs, a lower learning rate or more dropout."
)
RESULT_BEST = (
    " It was lowest ({best}) after update {step} and rose since then; fewer epochs may do better, "
    "or “Keep the best” among the advanced settings."
)
RESULT_KEPT = " The adapter is that of update {kept} of {steps}, when {best}."
RESULT_KEPT_WHEN = {
    "loss": "this loss was lowest",
    "accuracy": "accuracy on these rows was highest",
    "f1": "macro F1 on these rows was highest",
}
RESULT_ENDED = (
    "The run ended after {steps} of {total} updates, because {reason} on the held-out rows {moved} "
    "no further."
)
RESULT_ENDED_AS = {
    "loss": ("the loss", "fell"),
    "accuracy": ("accuracy", "rose"),
    "f1": ("macro F1", "rose"),
}
RESULT_TRAIN = (
    " On the rows it trained on, it was {first} in the first update and {last} in the last."
)
RESULT_TRAIN_ONLY = (
    "The training loss was {first} in the first update and {last} in the last. No rows were held "
    "back, so nothing says how it does on new ones."
)
RESULT_TRAIN_ONCE = (
    "The training loss was {last} in the only update. No rows were held back, so nothing says how "
    "it does on new ones."
)
RESULT_NOT_MEASURED = (
    "The training loss was {first} in the first update and {last} in the last. The loss on the "
    "rows held back was not measured after that."
)
RESULT_CUT = (
    "{cut} of {rows} had more tokens than “Maximum length” allows, so their ends were not learned; "
    "a higher one needs more memory and time."
)
RESULT_HIDDEN = (
    "{answers} in earlier turns could not be learned, because the model's chat format leaves out "
    "a part of them."
)
RESULT_COST = (
    "{steps} over {tokens} tokens; the training alone took {time}, at {speed} tokens/s{memory}."
)
RESULT_MEMORY = " and at most {memory} of memory"
RESULT_NO_CARD = (
    "It ran on the processor, because PyTorch cannot use this machine's graphics card: the log "
    "says more."
)
RESULT_STOPPED = "The run was stopped after {steps} of {total} updates; what it learned is kept."
UNSEEN_ROWS = ("row", "rows")
