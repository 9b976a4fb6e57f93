"""A rank report as HTML."""

from typing import Any

from app.html import muted, text
from app.wording import after as words

MOST_MODULES = 400


def ranks_html(report: dict[str, Any]) -> str:
    """The sentence, what each rank keeps, and a bar for each adapted module."""
    notes = "".join(map(muted, report.get("notes", ())))
    modules = sorted(report["modules"], key=lambda module: -module["share"])[:MOST_MODULES]
    rows = "".join(_module(module) for module in modules)
    return (
        f'<p class="learn">{text(report["sentence"])}</p>{notes}{_kept(report)}'
        f'<p class="legend"><i class="r90"></i>{text(words.RANKS_BAR)} '
        f'<i class="r99"></i>{text(words.RANKS_MORE)}</p>'
        f'<div class="scroll" tabindex="0" role="region" aria-label="{text(words.RANKS_TITLE)}">'
        f'<ul class="ranks">{rows}</ul></div>'
    )


def _kept(report: dict[str, Any]) -> str:
    """Columns, one a rank: the share of all energy that this rank would keep."""
    kept = report["kept"]
    columns = "".join(
        f'<i style="height:{100 * share:.1f}%" title="rank {rank}: {share:.1%}"></i>'
        for rank, share in enumerate(kept, 1)
    )
    return (
        f'<figure class="kept"><figcaption>{text(words.RANKS_KEPT)}</figcaption>'
        f'<div class="columns" aria-hidden="true">{columns}</div>'
        f'<div class="ends"><span>1</span><span>{len(kept)}</span></div></figure>'
    )


def _module(module: dict[str, Any]) -> str:
    r = module["r"]
    values = ", ".join(f"{value:.3g}" for value in module["singular_values"][:8])
    return (
        f'<li title="{text(values)}"><span class="name">{text(module["name"])}</span>'
        f'<span class="value">{module["rank_90"]} / {module["rank_99"]} of {r}</span>'
        '<span class="bar" aria-hidden="true">'
        f'<i class="r99" style="width:{100 * module["rank_99"] / r:.1f}%"></i>'
        f'<i class="r90" style="width:{100 * module["rank_90"] / r:.1f}%"></i></span></li>'
    )
