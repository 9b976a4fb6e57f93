"""A million rows of CSV through the page's own Library: seconds, memory, and the first rows."""

import csv
import io
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from itertools import cycle, islice
from pathlib import Path
from typing import Any

from benchmarks import report
from benchmarks.report import Bar

ROOT = Path(__file__).parents[1]
REAL_ROWS = ROOT.parent / "shared" / "data" / "alpaca_en_demo.json"
"""Instructions and answers of people; not part of the project, so the sample set stands in."""
SAMPLE_ROWS = ROOT / "lora_engine" / "samples" / "lighthouse_keeper.jsonl"
ROW_BYTES = 200
READ_SECONDS, READ_MB, FIRST_ROWS_SECONDS = 60, 1500, 5
MARKED_EVERY = 1000
"""One row of so many says what the row before it says, and one has no answer."""

Details = dict[str, Any]


def main(arguments: list[str] | None = None) -> None:
    """Measure, print the table and write ``data.json``."""
    parser = report.parser("data", __doc__ or "")
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--source", type=Path, default=REAL_ROWS, help="rows to multiply")
    parser.add_argument("--child", nargs=3, metavar=("SIDE", "CSV", "HOME"), help="for itself")
    chosen = parser.parse_args(arguments)
    if chosen.child:
        side, path, home = chosen.child
        print(json.dumps(CHILDREN[side](Path(path), Path(home))))
        return
    with tempfile.TemporaryDirectory(prefix="benchmark-data-") as folder:
        path = Path(folder) / "rows.csv"
        write_csv(path, chosen.rows, chosen.source if chosen.source.exists() else SAMPLE_ROWS)
        details = [
            {side: in_child(side, path) for side in CHILDREN} | {"bytes": path.stat().st_size}
            for _ in range(chosen.runs)
        ]
    bars = judge(details, chosen.rows)
    report.write("data", bars, details, chosen.results)
    print(report.markdown(bars))


def judge(details: list[Details], rows: int) -> list[Bar]:
    """The table's lines from the single runs."""
    kept, shown = [run["library"] for run in details], [run["page"] for run in details]
    size = f"{rows:,} rows, {details[0]['bytes'] / 1e6:.0f} MB"

    def middle(runs: list[Details], name: str) -> float:
        return report.median([run[name] for run in runs])

    read, checked = middle(kept, "read_seconds"), middle(kept, "check_seconds")
    parts = f"read {read:.0f} s, checked {checked:.0f} s, "
    parts += f"{middle(kept, 'cpu_seconds'):.0f} s of processor"
    usable = f"{kept[0]['usable']:,} of {kept[0]['total']:,} usable"
    steps = f"{middle(shown, 'progress_steps'):.0f} steps of the progress bar until the end"
    return [
        report.within(f"{size}: kept, read and checked", "s", middle(kept, "seconds"),
                      READ_SECONDS, parts),
        report.within(f"{size}: peak memory of the process", "MB", middle(kept, "peak_mb"),
                      READ_MB, usable),
        report.within(f"{size}: first rows on the page", "s", middle(shown, "first_rows_seconds"),
                      FIRST_ROWS_SECONDS, steps),
    ]  # fmt: skip


def write_csv(path: Path, rows: int, source: Path) -> None:
    """Rows of about ROW_BYTES each, cut from real ones; a number makes each its own."""
    texts = cycle(list(_texts(source)))
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(("instruction", "output"))
        spare = 0
        before = ("", "")
        for number, (asked, answer) in enumerate(islice(texts, rows)):
            row = f"{number}. {asked[:80]}", answer[: max(20, ROW_BYTES + spare - 90)]
            if number % MARKED_EVERY == 1:
                row = before
            elif number % MARKED_EVERY == 2:
                row = row[0], ""
            writer.writerow(row)
            spare += ROW_BYTES - len(_line(row))
            spare, before = min(spare, 10 * ROW_BYTES), row


def _line(row: tuple[str, str]) -> bytes:
    line = io.StringIO(newline="")
    csv.writer(line).writerow(row)
    return line.getvalue().encode()


def _texts(source: Path) -> Iterator[tuple[str, str]]:
    """(question, answer) of each row that has both."""
    text = source.read_text("utf-8")
    lines = source.suffix == ".jsonl"
    for row in map(json.loads, text.splitlines()) if lines else json.loads(text):
        asked, answer = row.get("instruction") or row.get("prompt"), row.get("output")
        if asked and (answer := answer or row.get("completion")):
            yield asked, answer


def in_child(side: str, path: Path) -> Details:
    """One side in a process of its own, with an empty data folder."""
    with tempfile.TemporaryDirectory(prefix="benchmark-home-", dir=path.parent) as home:
        command = [sys.executable, "-m", "benchmarks.data", "--child", side, str(path), home]
        done = subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True)
    found: Details = json.loads(done.stdout)
    return found


def through_library(path: Path, home: Path) -> Details:
    """Keep, read and check the file as the page and the endpoint do."""
    from lora_engine.data import Library

    began, processor = time.perf_counter(), time.process_time()
    since: dict[str, float] = {}

    def tell(_share: float, said: str) -> None:
        since.setdefault(said, time.perf_counter())

    dataset = Library(home).add(path, on_progress=tell)
    ended = time.perf_counter()
    copying, reading, checking = (since[said] for said in since)
    return {
        "seconds": ended - began,
        "copy_seconds": reading - copying,
        "read_seconds": checking - reading,
        "check_seconds": ended - checking,
        "cpu_seconds": time.process_time() - processor,
        "peak_mb": report.peak_memory_mb(),
        "usable": dataset.rows,
        "total": dataset.total_rows,
        "problems": dataset.problem_kinds,
    }


def through_page(path: Path, home: Path) -> Details:
    """Upload to the Data tab: what its handler shows, and when."""
    import gradio as gr

    from app.data_tab import DataTab
    from app.memory import Memory
    from app.services import Services

    services = Services.open(home)
    with gr.Blocks():
        tab = DataTab(services, Memory.build())
    began, first, steps = time.perf_counter(), 0.0, 0
    for updates in tab.add(str(path), ""):
        steps += 1
        if tab.preview in updates and not first:
            first = time.perf_counter() - began
    services.close()
    services.store.close()
    return {
        "first_rows_seconds": first,
        "seconds": time.perf_counter() - began,
        "progress_steps": steps,
        "peak_mb": report.peak_memory_mb(),
    }


CHILDREN = {"library": through_library, "page": through_page}

if __name__ == "__main__":
    main()
