"""The presets as cards, as a pure function."""

from app.html import text
from app.wording import train as words


def presets_html(chosen: str | None) -> str:
    """One button a preset, the matching one marked; none is, where the settings are others."""
    cards = "".join(
        f'<button type="button" class="card preset" data-action="preset" data-id="{text(key)}"'
        f' aria-pressed="{"true" if key == chosen else "false"}"><span class="name">{text(label)}'
        f'</span><span class="sub">{text(words.PRESET_HELP[key])}</span></button>'
        for key, label in words.PRESETS.items()
    )
    own = "" if chosen else f'<p class="muted">{text(words.PRESET_OWN)}</p>'
    return f'<div class="preset-cards" role="group">{cards}</div>{own}'
