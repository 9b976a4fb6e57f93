"""What can be learned: chat, text, classification and seq2seq, one file a kind.

A task decides how samples become examples, which model class is loaded, the way to the loss, what
is measured, and how base and adapted answers are compared. A new task is a file here and a line
in ``registry``.
"""
