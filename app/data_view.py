"""What the Data tab shows, as pure functions of a data set."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from app.conversation import samples_html
from app.html import fact, heading, muted, plural, text
from app.wording import data as words
from lora_engine.data.columns import FEW_CLASSES, LONGEST_WORDS
from lora_engine.data.labels import canonical, remarks
from lora_engine.data.nouns import Dataset, Problem, Sample
from lora_engine.data.roles import SHAPES

LABELLED = "labelled"
SHAPE_NAMES = {
    ("prompt", "completion"): "pair",
    ("messages",): "conversation",
    ("text", "label"): LABELLED,
}
NEEDED = {SHAPE_NAMES.get(needed, needed[0]): needed for needed, _ in SHAPES}
"""Shape of a row → the roles that it needs."""
SHAPE_ROLES = {SHAPE_NAMES.get(needed, needed[0]): (*needed, *may) for needed, may in SHAPES}
"""Shape of a row → the roles that apply to it, in the order of the page."""
ROLES = (
    *("prompt", "instruction", "messages", "text", "text_pair", "label", "input", "completion"),
    *("output", "history", "system"),
)
"""All roles in the order of the page: what the model reads, what it learns, what comes along."""
MOST_BARS = 12
NAMED = 5
"""Columns that a sentence names before it says how many more there are."""
RawRow = Mapping[str, str | None]
"""Column → cell."""
SEPARATORS = {",": "comma", ";": "semicolon", "\t": "tab", "|": "bar"}


def shape_of(roles: dict[str, str]) -> str:
    """Which shape of row these roles describe."""
    if "label" in roles:
        return LABELLED
    others = ((shape, needed) for shape, needed in NEEDED.items() if shape != LABELLED)
    return next((shape for shape, needed in others if needed[0] in roles), "pair")


def roles_for(shape: str, chosen: dict[str, str | None]) -> dict[str, str]:
    """The roles of one shape that have a column; the others do not apply."""
    return {role: column for role in SHAPE_ROLES[shape] if (column := chosen.get(role))}


@dataclass(frozen=True)
class DatasetView:
    """The pieces of HTML about one data set."""

    summary: str
    preview: str
    problems: str


def view(dataset: Dataset, samples: Sequence[Sample], rows: Sequence[RawRow] = ()) -> DatasetView:
    """Everything the tab says about ``dataset``.

    ``samples`` are its first usable rows, ``rows`` the first as they stand in the file.
    """
    summary = summary_html(dataset, unused_sentences(dataset, rows))
    return DatasetView(summary, preview_html(samples), problems_html(dataset))


def unfinished_view(dataset: Dataset, roles: dict[str, str]) -> DatasetView:
    """The tab while columns are still to be chosen: nothing of what they meant before."""
    nothing = {"roles_note": "", "rows": 0, "problem_count": 0, "problems": (), "label_counts": {}}
    nothing["rows_notes"] = ()
    return view(dataset.model_copy(update={**nothing, "roles": roles}), ())


def unused(dataset: Dataset) -> list[str]:
    """The columns that nothing is learned from."""
    return [column for column in dataset.columns if column not in dataset.roles.values()]


def unused_sentences(dataset: Dataset, rows: Sequence[RawRow]) -> list[str]:
    """Which columns are not used, and which of them could be a label; none where all are."""
    columns = unused(dataset)
    if not columns or not dataset.rows:
        return []
    labels = [each for each in columns if dataset.task == "text" and _like_labels(each, rows)]
    if len(labels) == 1:
        count = len({canonical((row.get(labels[0]) or "").strip()) for row in rows} - {""})
        shape = words.SHAPES[LABELLED]
        return [words.UNUSED_LABEL.format(column=labels[0], count=count, shape=shape)]
    named = ", ".join(f"“{column}”" for column in columns[:NAMED])
    if len(columns) > NAMED:
        named += words.UNUSED_MORE.format(count=f"{len(columns) - NAMED:,}")
    return [(words.UNUSED if len(columns) == 1 else words.UNUSED_SEVERAL).format(columns=named)]


def _like_labels(column: str, rows: Sequence[RawRow]) -> bool:
    """Whether the cells are few short words, again and again."""
    cells = [cell.strip() for row in rows if (cell := row.get(column)) and cell.strip()]
    different = set(map(canonical, cells))
    few = 2 <= len(different) <= min(FEW_CLASSES, len(cells) / 2)
    return few and max(map(len, different)) <= LONGEST_WORDS


def summary_html(dataset: Dataset, more: Sequence[str] = ()) -> str:
    """Name, counts and one sentence on what is learned; ``more`` are further notes."""
    ready = learn_sentence(dataset.roles) != words.LEARN_MISSING
    facts = "".join(
        (
            fact(words.ROWS, f"{dataset.rows:,}" if ready else words.NOT_KNOWN),
            fact(words.ROWS_IN_FILE, f"{dataset.total_rows:,}"),
            _problems_fact(dataset),
            fact(words.FILE, file_kind(dataset)),
        )
    )
    said = [*dataset.all_notes, *more]
    notes = f'<div class="notes">{"".join(map(muted, said))}</div>' if said else ""
    return (
        f'<section class="summary"><h2>{text(dataset.name)}</h2>'
        f'<p class="learn">{text(learn_sentence(dataset.roles))}</p>'
        f'<dl class="facts">{facts}</dl>{notes}{balance_html(dataset)}</section>'
    )


def _problems_fact(dataset: Dataset) -> str:
    """How many rows are left out, with a way to the reasons."""
    if not dataset.problem_count:
        return fact(words.PROBLEMS, words.NO_PROBLEMS if dataset.rows else words.NOT_KNOWN)
    left_out = plural(dataset.problem_count, *words.LEFT_OUT)
    return (
        f'<div class="fact warn"><dt>{text(words.PROBLEMS)}</dt>'
        f'<dd><a href="#problems">{text(left_out)}</a></dd></div>'
    )


def balance_html(dataset: Dataset) -> str:
    """How many rows each label has, as bars; what is odd about them; empty without labels."""
    counts = dataset.label_counts
    if not counts:
        return ""
    shown = sorted(counts.items(), key=lambda item: -item[1])[:MOST_BARS]
    bars = "".join(
        f'<li><span class="name">{text(_short(label))}</span>'
        f'<span class="value">{count:,} ({count / dataset.rows:.0%})</span>'
        '<span class="bar" aria-hidden="true">'
        f'<i style="width:{100 * count / shown[0][1]:.1f}%"></i></span></li>'
        for label, count in shown
    )
    more = len(counts) - len(shown)
    said = [*remarks(counts), *([words.MORE_LABELS.format(count=f"{more:,}")] if more else [])]
    title = plural(len(counts), words.LABELS)
    return f'<h3>{text(title)}</h3><ul class="bars">{bars}</ul>{"".join(map(muted, said))}'


def file_kind(dataset: Dataset) -> str:
    """The detected format, separator and encoding in a few words."""
    separator = SEPARATORS.get(dataset.delimiter, dataset.delimiter)
    parts = [dataset.format.upper(), separator, dataset.encoding]
    return ", ".join(part for part in parts if part)


def learn_sentence(roles: dict[str, str]) -> str:
    """What the model reads and what it learns, in one or two plain sentences."""
    shape = shape_of(roles)
    if any(role not in roles for role in NEEDED[shape]):
        return words.LEARN_MISSING
    first = roles[NEEDED[shape][0]]
    match shape:
        case "pair":
            said = words.LEARN_PAIR.format(first=first, second=roles["completion"])
        case "instruction":
            also = roles.get("input")
            extra = words.LEARN_INSTRUCTION_INPUT.format(column=also) if also else ""
            said = words.LEARN_INSTRUCTION.format(first=first, input=extra, second=roles["output"])
        case "conversation":
            said = words.LEARN_CONVERSATION.format(first=first)
        case "labelled":
            pair = roles.get("text_pair")
            also = words.LEARN_LABEL_PAIR.format(column=pair) if pair else ""
            said = words.LEARN_LABEL.format(first=first, pair=also, label=roles["label"])
        case _:
            said = words.LEARN_TEXT.format(first=first)
    if system := roles.get("system"):
        said += words.LEARN_SYSTEM.format(column=system)
    return said


def reading_html(name: str) -> str:
    """The summary's place while a long file is being read."""
    return f'<section class="summary"><h2>{text(name)}</h2>{muted(words.READING_LONG)}</section>'


def first_rows_html(rows: Sequence[RawRow]) -> str:
    """The first rows of a file as they stand in it."""
    columns = list(dict.fromkeys(column for row in rows for column in row))
    head = "".join(f'<th scope="col">{text(column)}</th>' for column in columns)
    body = "".join(
        "<tr>" + "".join(f"<td>{text(_short(row.get(c) or ''))}</td>" for c in columns) + "</tr>"
        for row in rows
    )
    return (
        f'{heading(words.PEEK_TITLE)}<div class="scroll" tabindex="0" role="region"'
        f' aria-label="{text(words.PEEK_TITLE)}"><table class="rows"><thead><tr>{head}</tr></thead>'
        f"<tbody>{body}</tbody></table></div>"
    )


def _short(cell: str) -> str:
    return cell if len(cell) <= 200 else f"{cell[:200]} …"


def preview_html(samples: Sequence[Sample]) -> str:
    """The first rows as conversations."""
    title = heading(words.PREVIEW_TITLE, words.PREVIEW_HINT)
    body = samples_html(samples) or f'<p class="muted">{text(words.PREVIEW_EMPTY)}</p>'
    return f'{title}<div class="samples">{body}</div>'


def problems_html(dataset: Dataset) -> str:
    """A scrolling table of the rows that are left out, with their line numbers."""
    title = heading(f"{words.PROBLEMS_TITLE} ({dataset.problem_count:,})")
    if not dataset.problem_count:
        return f'{title}<p class="muted">{text(words.PROBLEMS_NONE)}</p>'
    rows = "".join(_problem_row(problem) for problem in dataset.problems)
    more = ""
    if dataset.problem_count > len(dataset.problems):
        said = words.PROBLEMS_FIRST.format(
            shown=f"{len(dataset.problems):,}", count=f"{dataset.problem_count:,}"
        )
        more = f'<p class="muted">{text(said)}</p>'
    return (
        f'{title}<div class="scroll" tabindex="0" role="region"'
        f' aria-label="{text(words.PROBLEMS_TITLE)}"><table class="problems"><thead><tr>'
        f'<th scope="col">{text(words.PROBLEMS_LINE)}</th>'
        f'<th scope="col">{text(words.PROBLEMS_WHY)}</th></tr></thead>'
        f"<tbody>{rows}</tbody></table></div>{more}"
    )


def _problem_row(problem: Problem) -> str:
    return f"<tr><td>{problem.line:,}</td><td>{text(problem.message)}</td></tr>"


def kept_html(datasets: Sequence[Dataset], chosen: str) -> str:
    """The kept data sets as buttons, the chosen one marked."""
    if not datasets:
        return f'<p class="muted">{text(words.KEPT_EMPTY)}</p>'
    return f'<div class="cards">{"".join(_card(each, chosen) for each in datasets)}</div>'


def _card(dataset: Dataset, chosen: str) -> str:
    pressed = "true" if dataset.dataset_id == chosen else "false"
    return (
        f'<button type="button" class="card" data-action="choose" aria-pressed="{pressed}"'
        f' data-id="{text(dataset.dataset_id)}"><span class="name">{text(dataset.name)}</span>'
        f'<span class="sub">{text(plural(dataset.rows, "row"))}</span></button>'
    )


def nothing_html() -> str:
    """What stands in the summary's place before there is a data set: the way ahead."""
    steps = "".join(
        f"<li><strong>{text(name)}</strong><span>{text(what)}</span></li>"
        for name, what in words.NOTHING_STEPS
    )
    return f'{heading(words.NOTHING_TITLE)}<ol class="way">{steps}</ol>'
