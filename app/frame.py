"""The frame around the tabs: name, and the switch between light and dark."""

from app.html import notice, text
from app.wording import common

LOGO = (
    '<svg class="logo" viewBox="0 0 44 32" width="44" height="32" aria-hidden="true">'
    '<rect class="frozen" x="1" y="3" width="26" height="26" rx="3"/>'
    '<rect class="pair" x="31" y="3" width="4" height="26" rx="2"/>'
    '<rect class="pair" x="38" y="3" width="5" height="10" rx="2"/></svg>'
)
"""A large frozen matrix and a thin trained pair beside it."""


def header_html() -> str:
    """Logo, name, and what it is for."""
    return (
        f'<header class="top">{LOGO}<div><h1>{text(common.PRODUCT)}</h1>'
        f"<p>{text(common.TAGLINE)}</p></div></header>"
    )


def server_lost_html() -> str:
    """What page.js shows while the server does not answer."""
    return f'<div class="server-lost" hidden>{notice("warning", common.SERVER_LOST)}</div>'


def theme_switch_html() -> str:
    """The button that page.js listens to."""
    return (
        f'<button type="button" class="theme-switch" aria-label="{text(common.THEME_SWITCH)}"'
        f' title="{text(common.THEME_SWITCH)}"><span aria-hidden="true"></span></button>'
    )
