"""The page: when it is up, and how soon it counts parameters, alone and beside a training run."""

import http.client
import itertools
import json
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import psutil

from benchmarks import browser, report
from benchmarks.report import Bar
from lora_engine import catalog
from lora_engine.config import LoraConfig
from lora_engine.counts import count_parameters
from lora_engine.data.library import SAMPLE_SET, Library

ROOT = Path(__file__).parents[1]
STARTER = "smollm2-135m-instruct"
LLAMA_7B = {
    "architectures": ["LlamaForCausalLM"], "model_type": "llama", "vocab_size": 32_000,
    "hidden_size": 4096, "intermediate_size": 11_008, "num_hidden_layers": 32,
    "num_attention_heads": 32, "tie_word_embeddings": False,
}  # fmt: skip
"""Touvron et al. 2023, table 2."""
COUNT_MS, UP_SECONDS, BUSY_MS, SEEN_MS = 50, 8, 250, 500
PATIENCE_SECONDS = 600

Details = dict[str, Any]


def main(arguments: list[str] | None = None) -> None:
    """Measure, print the table and write ``page.json``."""
    parser = report.parser("page", __doc__ or "")
    parser.add_argument("--changes", type=int, default=200, help="settings counted one by one")
    parser.add_argument("--starter", default="", help="another model than the starter to train")
    chosen = parser.parse_args(arguments)
    details = [measure(chosen.changes, chosen.starter) for _ in range(chosen.runs)]
    bars = judge(details, chosen.changes)
    report.write("page", bars, details, chosen.results)
    print(report.markdown(bars))


def judge(details: list[Details], changes: int) -> list[Bar]:
    """The table's lines: medians over the runs of each run's 95th percentile."""

    def middle(*names: str) -> float:
        found: list[Any] = details
        for name in names:
            found = [each[name] for each in found]
        return report.median(found)

    bars = [
        report.within("page up (HTTP 200) after `python -m app`", "s", middle("up_seconds"),
                      UP_SECONDS, f"{middle('up_cpu_seconds'):.1f} s of processor"),
    ]  # fmt: skip
    for title, name, limit in (
        ("SmolLM2-135M", "small", COUNT_MS),
        ("LLaMA-7B shape", "big", COUNT_MS),
        ("SmolLM2-135M while a run trains on all cores", "busy", BUSY_MS),
    ):
        work = f"/count_parameters, {title}: p95 of {changes} changes"
        said = (
            f"median {middle(name, 'p50'):.1f} ms; processor {middle(name, 'cpu'):.1f} ms a call; "
        )
        said += f"the counting itself p95 {middle(name, 'alone_p95'):.1f} ms"
        bars.append(report.within(work, "ms", middle(name, "p95"), limit, said))
    if details[0]["seen"]:
        work = f"a new rank in the browser, until its counts are seen: p95 of {changes} changes"
        said = f"median {middle('seen', 'p50'):.0f} ms"
        bars.append(report.within(work, "ms", middle("seen", "p95"), SEEN_MS, said))
    return bars


def measure(changes: int, model: str = "") -> Details:
    """One run with a page, a worker and a data folder of its own."""
    with tempfile.TemporaryDirectory(prefix="benchmark-page-") as folder, ExitStack() as stack:
        home = Path(folder) / "home"
        small, big = model or _linked_starter(home), _shape(Path(folder) / "llama-7b")
        port = _free_port()
        began = time.perf_counter()
        page = stack.enter_context(_process("app", home, "--port", str(port)))
        until(lambda: _is_up(port), 0.02)
        details: Details = {
            "up_seconds": time.perf_counter() - began,
            "up_cpu_seconds": _cpu_seconds(page.pid),
            "load": psutil.getloadavg()[0],
        }
        for name, which in (("small", small), ("big", big)):
            details[name] = count(port, page.pid, home, which, changes)
        details["seen"] = _seen(port, changes)
        dataset = Library(home).add(SAMPLE_SET).dataset_id
        stack.enter_context(_process("jobs", home))
        settings = json.dumps({"epochs": 100, "batch_size": 4})
        run = _ask(port, "start_training", dataset, small, settings)
        first = until(lambda: _step(port, run), 1)
        details["busy"] = count(port, page.pid, home, small, changes)
        details["busy"]["steps"] = until(lambda: _step(port, run, beyond=first), 1) - first
        _ask(port, "cancel_job", run)
    return details


def count(port: int, page: int, home: Path, model: str, changes: int) -> Details:
    """Milliseconds of ``changes`` counts over HTTP, each of other settings, and in this process."""
    _ask(port, "count_parameters", model, "{}")  # the first look at a model reads its profile
    profile = catalog.profile(model, home)
    over_http, alone = [], []
    before = _cpu_seconds(page)
    for settings in itertools.islice(_settings(), changes):
        began = time.perf_counter()
        found = _ask(port, "count_parameters", model, json.dumps(settings))
        over_http.append(1000 * (time.perf_counter() - began))
        began = time.perf_counter()
        own = count_parameters(profile, LoraConfig.parse(settings)).model_dump(mode="json")
        alone.append(1000 * (time.perf_counter() - began))
        if own["trainable"] != found["trainable"]:
            raise RuntimeError(f"The page counts {found}, not {own}.")
    return {
        "p50": report.median(over_http),
        "p95": _percentile(over_http, 95),
        "alone_p95": _percentile(alone, 95),
        "cpu": 1000 * (_cpu_seconds(page) - before) / changes,
        "all": over_http,
    }


def _seen(port: int, changes: int) -> Details | None:
    """Milliseconds from a change of the rank to its counts, in a browser; None without one."""
    took = browser.seconds_to_counts(f"http://127.0.0.1:{port}", changes)
    if took is None:
        return None
    found = [1000 * each for each in took]
    return {"p50": report.median(found), "p95": _percentile(found, 95), "all": found}


def _cpu_seconds(process: int) -> float:
    """The processor time that a process has had."""
    times = psutil.Process(process).cpu_times()
    return float(times.user + times.system)


def _settings() -> Iterator[dict[str, Any]]:
    """What a person tries: ranks, target modules, DoRA."""
    names = (["q_proj", "v_proj"], ["q_proj", "k_proj", "v_proj", "o_proj"], "all-linear")
    for r in itertools.count(1):
        for modules in names:
            yield {"r": r, "target_modules": modules, "use_dora": r % 2 == 0}


def _percentile(values: list[float], percent: int) -> float:
    """The smallest value that so many percent of all do not exceed."""
    return sorted(values)[max(0, -(-len(values) * percent // 100) - 1)]


def _ask(port: int, endpoint: str, *values: Any) -> Any:
    """Call a named endpoint that does not wait in a queue, as a page or a program would."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE_SECONDS)
    try:
        # without a session, Gradio makes one for each call and looks at every part of the page
        body = json.dumps({"data": values, "session_hash": "benchmark"})
        headers = {"Content-Type": "application/json"}
        connection.request("POST", f"/gradio_api/run/{endpoint}", body, headers)
        reply = connection.getresponse()
        said = reply.read()
    finally:
        connection.close()
    if reply.status != 200:
        raise RuntimeError(f"/{endpoint} answered {reply.status}: {said[:500]!r}")
    return json.loads(said)["data"][0]


def _step(port: int, run: int, beyond: int = 0) -> int:
    """The step that a run has reached, or 0 up to ``beyond``."""
    job = _ask(port, "job", run)
    if job["status"] not in ("queued", "running"):
        raise RuntimeError(f"The run ended too early: {job['status']} {job['error']}")
    step = int(job["step"] or 0)
    return step if step > beyond else 0


def until(condition: Callable[[], int], seconds: float) -> int:
    """Try ``condition`` every so many seconds until it gives something; raises TimeoutError."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not (found := condition()):
        if time.monotonic() > deadline:
            raise TimeoutError("waited in vain")
        time.sleep(seconds)
    return found


def _is_up(port: int) -> bool:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE_SECONDS)
    try:
        connection.request("GET", "/")
        return connection.getresponse().status == 200
    except OSError:
        return False
    finally:
        connection.close()


@contextmanager
def _process(module: str, home: Path, *options: str) -> Iterator[subprocess.Popen[bytes]]:
    """``python -m module`` on a data folder, ended at last."""
    home.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-m", module, "--data-dir", str(home), *options]
    with (home / f"{module}.txt").open("ab") as said:
        process = subprocess.Popen(command, cwd=ROOT, stdout=said, stderr=said)
    try:
        yield process
    finally:
        process.terminate()
        process.wait(timeout=60)


def _linked_starter(home: Path) -> str:
    """The starter in a new data folder, without fetching it again."""
    kept = catalog.resolve(STARTER, catalog.DEFAULT_HOME).path
    (home / "models").mkdir(parents=True)
    (home / "models" / STARTER).symlink_to(kept, target_is_directory=True)
    return STARTER


def _shape(folder: Path) -> str:
    """A model folder that has a config and no weights: enough to count."""
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps(LLAMA_7B), encoding="utf-8")
    return str(folder)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port


if __name__ == "__main__":
    main()
