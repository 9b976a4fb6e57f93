"""Texts of the table of tensors."""

TITLE = "Every tensor"
HINT = (
    "The model's tensors by name, as the table of parameters in papers and courses lists them: "
    "before the adapter is put in, and after it."
)
WHEN_LABEL = "The model"
WHEN = (("with these settings", "after"), ("as it is", "before"))
FILTER = "Show names with"
FILTER_PLACEHOLDER = "e.g. layers.3, lora_A"
ONLY = "Only what is trained"
COLUMNS = ("Name", "Shape", "Format", "Trained")
COUNT = "Tensors"
NUMBERS = "Numbers in them"
TRAINED = "Trained"
YES = "yes"
NO = "no"
NOTHING = "No tensor has such a name."
MORE = "The first {shown} of {count} are shown; type a part of a name to see others."
