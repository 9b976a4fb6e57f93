"""Texts on how well a classifier or a rewriting model did."""

SHARES = {
    "test": "On the test data ({rows} rows)",
    "validation": "On the validation rows ({rows} rows)",
}
ACCURACY = "Accuracy"
F1 = "F1 of “{label}”"
F1_MACRO = "Macro F1"
F1_MEANING = (
    "F1 is high only where a label is both found and not given in error; macro F1 is its mean over "
    "all labels, rare ones counting as much as common ones."
)
LOSS = "Loss"
BETTER = "Always giving the commonest label, “{label}”, would be right in {share} of the rows."
NO_BETTER = (
    "Always giving the commonest label, “{label}”, would be right in {share} of the rows, so "
    "nothing useful was learned yet: train longer, raise the learning rate, or add rows."
)
CONFUSION = "Confusion matrix"
CONFUSION_HINT = "Confusion matrix: a line is the true label, a column what the model gave."
PICTURE_HINT = (
    "Confusion matrix: a line is the true label, a column what the model gave; what lies on the "
    "diagonal is right. The zip has it with all names."
)
CONFUSED = "Most often taken for another"
CONFUSED_COLUMNS = ("True label", "Given label", "Rows")
BY_LABEL = "Label by label"
LABEL_COLUMNS = ("Label", "Rows", "Precision", "Recall", "F1")
MISTAKES = "The mistakes it was surest of"
MISTAKE_COLUMNS = ("Line", "Text", "True label", "Given label", "Certainty")
SAMPLES = "Questions it was not trained on"
SAMPLE_COLUMNS = ("Asked", "Expected", "Before", "After")
SAMPLE_KEYS = ("question", "expected", "before", "after")
EXACT = "Exact match"
ROUGE = "ROUGE-L"
ANSWERED = "Exact match and ROUGE-L are of the answers to {rows} rows."
ANSWERS = "Some of the answers"
ANSWER_COLUMNS = ("Asked", "Expected", "Answered")
ANSWER_KEYS = ("source", "expected", "answer")
