"""What came of the work after training, as HTML: a rank report, new runs, exported files."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

from app.clock import file_size
from app.html import muted, text
from app.wording import after as words
from jobs.job import Job

MOST_MODULES = 400
MOST_VALUES = 64
"""Singular values that are drawn for a module."""


def ranks_html(report: dict[str, Any]) -> str:
    """The sentence, what each rank keeps, and a bar for each adapted module."""
    said = list(report.get("notes", ()))
    if 0 < report["rank_90"] < report["r"]:
        said.insert(0, words.RANKS_ADVICE.format(rank=report["rank_90"]))
    notes = "".join(map(muted, said))
    modules = sorted(report["modules"], key=lambda module: -module["share"])[:MOST_MODULES]
    rows = "".join(_module(module) for module in modules)
    return (
        f'<p class="learn">{text(report["sentence"])}</p>{notes}{_kept(report)}'
        f'<p class="legend"><span><i class="r90"></i>{text(words.RANKS_BAR)}</span>'
        f'<span><i class="r99"></i>{text(words.RANKS_MORE)}</span>'
        f"<span>{text(words.RANKS_SPECTRUM)}</span></p>"
        f'<div class="scroll" tabindex="0" role="region" aria-label="{text(words.RANKS_TITLE)}">'
        f'<ul class="ranks">{rows}</ul></div>'
    )


def _kept(report: dict[str, Any]) -> str:
    """Columns, one a rank: the share of all energy that this rank would keep."""
    kept = report["kept"]
    said = (words.RANK_KEEPS.format(rank=n, share=f"{each:.1%}") for n, each in enumerate(kept, 1))
    columns = "".join(
        f'<i style="height:{100 * share:.1f}%" title="{text(sentence)}"></i>'
        for share, sentence in zip(kept, said, strict=True)
    )
    return (
        f'<figure class="kept"><figcaption>{text(words.RANKS_KEPT)}</figcaption>'
        f'<div class="columns" aria-hidden="true">{columns}</div>'
        f'<div class="ends"><span>1</span><span>{len(kept)}</span></div></figure>'
    )


def _module(module: dict[str, Any]) -> str:
    r = module["r"]
    return (
        f'<li><span class="name">{text(module["name"])}</span>'
        f'<span class="value">{module["rank_90"]} / {module["rank_99"]} of {r}</span>'
        f"{_spectrum(module['singular_values'])}"
        '<span class="bar" aria-hidden="true">'
        f'<i class="r99" style="width:{100 * module["rank_99"] / r:.1f}%"></i>'
        f'<i class="r90" style="width:{100 * module["rank_90"] / r:.1f}%"></i></span></li>'
    )


def _spectrum(values: Sequence[float]) -> str:
    """A column for each of the largest singular values, as high as it is of the first."""
    shown = values[:MOST_VALUES]
    if not shown or not shown[0]:
        return ""
    columns = "".join(f'<i style="height:{100 * value / shown[0]:.0f}%"></i>' for value in shown)
    said = words.RANKS_VALUES.format(values=", ".join(f"{value:.3g}" for value in shown[:8]))
    return (
        f'<span class="spectrum" role="img" aria-label="{text(said)}" title="{text(said)}">'
        f"{columns}</span>"
    )


def made_html(job: Job, found: dict[str, Any]) -> str:
    """A new run came of it: what was measured, and a way to it."""
    return (
        '<div class="notice success" role="status"><span class="mark" aria-hidden="true"></span>'
        f"<span>{text(found['sentence'])} {text(words.MADE.format(job=job.id))} "
        f'<button type="button" class="link" data-action="open" data-id="{job.id}">'
        f"{text(words.OPEN_MADE)}</button></span></div>"
    )


def exported_html(job: Job, form: str, path: Path, found: dict[str, Any]) -> str:
    """Where the exported file or folder is."""
    if form == "gguf":
        label = words.GGUF_LINK.format(size=file_size(path.stat().st_size))
        address = quote(f"adapters/{job.id}.gguf.zip")
        where = f'<a class="button" href="{address}" download>{text(label)}</a>'
    else:
        where = muted(words.MERGED_WHERE.format(path=path))
    return f"<p>{text(found['sentence'])}</p>{where}"
