"""The commands of ``python -m lora_engine``, one file a group; each has ``add(parsers)``."""
