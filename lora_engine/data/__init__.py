"""From an uploaded file to the rows, conversations and tokens that the model learns from."""
