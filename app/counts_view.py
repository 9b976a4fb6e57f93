"""The live counts card, as pure functions of a ParameterCount."""

from app.clock import file_size
from app.html import fact, muted, notice, text
from app.wording import train as words
from lora_engine.config import LoraConfig
from lora_engine.counts import ModuleCount, ParameterCount
from lora_engine.profile import ModelProfile


def percent_text(percent: float) -> str:
    """A share with enough digits to be told from zero."""
    return f"{percent:.2f} %" if percent >= 0.1 else f"{percent:.4f} %"


def megabytes_text(megabytes: float) -> str:
    return f"{megabytes:.1f} MB" if megabytes >= 1 else f"{megabytes * 1000:.0f} KB"


def counts_html(counts: ParameterCount, lora: LoraConfig, memory: int = 0, has: int = 0) -> str:
    """Trainable, total, share, size of the adapter, memory, and a bar a target module.

    ``memory`` is what a run needs at least, in bytes, and ``has`` what the machine has; 0: unknown.

    A narrow window shows the most of it once more at its foot, in sight of every control.
    """
    of_total = words.OF_TOTAL.format(
        percent=percent_text(counts.percent), total=f"{counts.total:,}"
    )
    pairs = lora.method == "lora"
    size = words.ADAPTER_SIZE if pairs else words.SAVED_SIZE
    facts = fact(size, megabytes_text(counts.adapter_mb))
    if pairs:
        name, root = (words.SCALING_ROOT, 0.5) if lora.use_rslora else (words.SCALING, 1)
        facts += fact(name, f"{lora.lora_alpha / lora.r**root:.4g}")
    if memory:
        facts += fact(words.MEMORY, file_size(memory))
    bar = words.COUNT_BAR.format(
        trainable=f"{counts.trainable:,}",
        percent=percent_text(counts.percent),
        size=megabytes_text(counts.adapter_mb),
    )
    return (
        '<div class="counts"><p class="big" data-count="trainable">'
        f"<strong>{counts.trainable:,}</strong> {text(words.TRAINABLE)}</p>"
        '<div class="share" aria-hidden="true">'
        f'<i style="width:{_width(counts.percent)}"></i></div>'
        f'<p class="of" data-count="total">{text(of_total)}</p>'
        f'<dl class="facts">{facts}</dl>{_too_little(memory, has)}{_bars(counts, lora)}</div>'
        f'<p class="count-bar" aria-hidden="true">{text(bar)}</p>'
    )


def _too_little(memory: int, has: int) -> str:
    """A warning where a run cannot fit, however short its rows are."""
    if not has or memory < has:
        return ""
    said = words.MEMORY_SHORT.format(needs=file_size(memory), has=file_size(has))
    return notice("warning", said)


def blank_html(problem: str) -> str:
    """The card while a setting cannot be used, and which: numbers from before would pass as its
    own."""
    return (
        '<div class="counts blank"><p class="big" data-count="trainable">'
        f"<strong>{text(words.BLANK)}</strong> {text(words.TRAINABLE)}</p>"
        f"{muted(words.COUNTS_INVALID.format(problem=problem))}</div>"
        f'<p class="count-bar" aria-hidden="true">{text(words.COUNT_BAR_INVALID)}</p>'
    )


def _width(percent: float) -> str:
    return f"{min(max(percent, 0.4), 100):.2f}%"


def _bars(counts: ParameterCount, lora: LoraConfig) -> str:
    chosen = [module for module in counts.by_module if module.trainable]
    rest = counts.trainable - sum(module.trainable for module in chosen)
    largest = max([rest, *(module.trainable for module in chosen)]) or 1
    rows = [_bar(module, largest) for module in chosen]
    if rest:
        biases = words.BIASES if lora.bias != "none" else words.WHOLE
        rows.append(_row(biases if lora.method == "lora" else words.IN_PLACE, rest, rest / largest))
    return f'<h3>{text(words.BY_MODULE)}</h3><ul class="bars">{"".join(rows)}</ul>'


def _bar(module: ModuleCount, largest: int) -> str:
    name = f"{module.name} × {module.count}"
    return _row(name, module.trainable, module.trainable / largest)


def _row(name: str, value: int, share: float) -> str:
    return (
        f'<li><span class="name">{text(name)}</span><span class="value">{value:,}</span>'
        f'<span class="bar" aria-hidden="true"><i style="width:{100 * share:.1f}%"></i></span></li>'
    )


def module_choices(profile: ModelProfile) -> list[tuple[str, str]]:
    """The target modules this model really has, each with its count: ``q_proj × 30``.

    Embedding and output head come last and say what they are.
    """
    counted: dict[str, int] = {}
    special: dict[str, str] = {}
    for group in profile.groups:
        counted[group.name] = counted.get(group.name, 0) + len(group.paths)
        if group.kind == "Embedding" or group.is_head:
            head = words.TIED_HEAD if group.is_tied else words.HEAD
            special[group.name] = head if group.is_head else words.EMBEDDING
    names = sorted(counted, key=lambda name: name in special)
    return [
        (f"{name} × {counted[name]}" + (f" ({special[name]})" if name in special else ""), name)
        for name in names
    ]


def model_sentence(profile: ModelProfile) -> str:
    """The model in a few words."""
    modules = sum(len(group.paths) for group in profile.groups)
    facts = words.MODEL_FACTS.format(
        architecture=profile.architecture,
        parameters=f"{profile.total_parameters:,}",
        modules=f"{modules:,} modules",
    )
    return " ".join((facts, *profile.notes))
