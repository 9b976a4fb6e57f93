"""LoRA fine-tuning from first principles: data, low-rank layers, training and adapter files.

Importing this package imports no torch. ``config``, ``profile``, ``progress``, ``errors``,
``catalog`` and ``data`` stay that way; ``train``, ``generate`` and ``lora`` are where torch begins.
"""
