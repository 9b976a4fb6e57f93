"""Texts of the comparison of runs."""

TITLE = "Compare with other runs"
HINT = (
    "What their settings differ in, what came of each, and their losses in one picture: to see "
    "which setting was worth it."
)
OTHERS = "Other runs (up to {most})"
NONE_YET = "There is no other run yet: train again with another setting, then compare the two."
SEVERAL = "Choose from two to {most} different runs."

SETTING = "Setting"
RESULT = "Result"
DIFFERENCES = "What they differ in"
NO_DIFFERENCE = "Their settings are the same."
RESULTS = "What came of them"
NOTHING = "–"
ON, OFF = "on", "off"
OTHER_SETTINGS = {
    "dataset": "Data set",
    "base_model": "Base model",
    "task": "Task",
    "roles": "What the columns are",
}
GONE = "deleted"
USUAL = "the usual ones"

VALUES = {
    "eval_loss_before": "Validation loss before",
    "eval_loss": "Validation loss",
    "accuracy": "Accuracy, validation",
    "f1_macro": "Macro F1, validation",
    "exact_match": "Exact match, validation",
    "rouge_l": "ROUGE-L, validation",
    "test_loss": "Loss, test data",
    "test_accuracy": "Accuracy, test data",
    "test_f1_macro": "Macro F1, test data",
    "test_exact_match": "Exact match, test data",
    "test_rouge_l": "ROUGE-L, test data",
    "trainable": "Trained parameters",
    "steps": "Updates",
    "seconds": "Time of training",
    "tokens_per_second": "Tokens a second",
    "peak_memory_mb": "Memory, at most",
}

BEST_LOSS = "“{name}” (run {job}) did best on the held-out rows: a loss of {best} against {others}."
BEST_ACCURACY = (
    "“{name}” (run {job}) did best on the held-out rows: {best} of them right against {others}."
)
ALIKE = "On the held-out rows they did about equally well."
FEW_ROWS = "With only {rows} a small difference means little."
HELD_OUT_ROWS = ("held-out row", "held-out rows")
NOT_ALIKE = (
    "They were not measured on the same rows in the same way, because they differ in: {what}. So "
    "their losses say nothing about which is better."
)
NOT_MEASURED = "Not all of them were measured on held-out rows, so nothing says which is better."
STILL = "One of them has not ended yet."

CHART_VALIDATION = "Validation loss"
CHART_TRAINING = "Training loss, smoothed"
CHART_LABEL = "{what} of {count} runs over their updates: {lasts}."
