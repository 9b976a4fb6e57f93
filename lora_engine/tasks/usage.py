"""How an adapter is used in other tools, a Markdown file beside each task."""

from pathlib import Path


def usage_of(name: str, **parts: object) -> str:
    """The text of ``NAME.md``, with ``parts`` in the places that it names."""
    written = Path(__file__).with_name(f"{name}.md").read_text(encoding="utf-8")
    return written.rstrip("\n").format(**parts)
