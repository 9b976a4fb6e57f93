"""Put the page together: the frame, the tabs, and what leads from one to the next."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import gradio as gr
from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware

from app import theme
from app.data_tab import DataTab
from app.downloads import answers_route, gguf_route, zip_route
from app.endpoints import add_endpoints
from app.frame import header_html, server_lost_html, theme_switch_html
from app.guard import HIDDEN, Updates, at_each, handler
from app.html import CLICKS
from app.memory import Memory
from app.news import NEWS_JS, news_route
from app.pieces import piece
from app.playground_tab import PlaygroundTab
from app.runs_tab import RunsTab
from app.services import Services
from app.starting import further
from app.train_tab import TrainTab
from app.wording import after as after_words
from app.wording import common
from app.wording import runs as run_words

MAX_UPLOAD = "8gb"
TAB_IDS = ("data", "train", "runs", "playground")


class Page:
    """The four tabs and the ways between them."""

    def __init__(self, services: Services) -> None:
        self.services = services
        self.memory = Memory.build()
        with gr.Row(elem_classes="top-row"):
            piece(header_html(), elem_id="top")
            status = piece(js_on_load=CLICKS, elem_id="queue-status")
            news = piece(js_on_load=NEWS_JS, elem_classes="place")
            piece(theme_switch_html())
        piece(server_lost_html(), elem_classes="place")
        with gr.Tabs(selected="data", elem_id="tabs") as self.tabs:
            with gr.Tab(common.TAB_DATA, id="data") as data:
                self.data = DataTab(services, self.memory)
            with gr.Tab(common.TAB_TRAIN, id="train") as train:
                self.train = TrainTab(services, self.memory, self.tabs)
            with gr.Tab(common.TAB_RUNS, id="runs") as runs:
                self.runs = RunsTab(services, self.memory, status, news)
            with gr.Tab(common.TAB_PLAYGROUND, id="playground") as playground:
                self.playground = PlaygroundTab(services)
        self._remember_tab(data, train, runs, playground)
        playground.select(
            handler(self.playground.notice)(self.playground.look_again),
            self.playground.choice.inputs,
            self.playground.outputs(),
            **HIDDEN,
        )
        self._connect()

    def _remember_tab(self, *tabs: gr.Tab) -> None:
        """Remember which tab is shown; not the one that a fresh page shows for a moment."""
        memory = self.memory.tab
        for tab, name in zip(tabs, TAB_IDS, strict=True):
            js = f"(before) => window.workbenchRestored ? '{name}' : before"
            tab.select(None, memory, memory, js=js, show_progress="hidden")

    def _connect(self) -> None:
        data, train, runs, playground = self.data, self.train, self.runs, self.playground
        filled = [*train.outputs(), *data.outputs()]
        at_each(
            self.memory.dataset.change,
            handler(train.layout.notice, clear=False)(train.follow),
            [train.layout.restored, self.memory.dataset, *train.layout.inputs],
            train.outputs(),
            preprocess=False,
        )
        # one chosen data set for the whole page, so that a reload finds it on both tabs
        train.layout.dataset.input(
            handler(train.layout.notice, clear=False)(self.show_data),
            [train.layout.dataset],
            [*data.outputs(), train.layout.notice],
            **HIDDEN,
        )
        data.to_train.click(
            handler(data.notice)(self.go_to_train), [self.memory.dataset, *train.layout.inputs],
            [*train.outputs(), data.notice], preprocess=False, **HIDDEN,
        )  # fmt: skip
        runs.again.click(
            handler(runs.notice)(self.train_again), [self.memory.run],
            [*filled, runs.notice], **HIDDEN,
        )  # fmt: skip
        runs.after.further.click(
            handler(runs.after.further_place)(self.train_further),
            [self.memory.run, self.memory.dataset],
            [*filled, runs.after.further_place], **HIDDEN,
        )  # fmt: skip
        loaded = train.layout.load.upload(
            handler(train.layout.notice)(self.load_settings),
            [train.layout.load, *train.layout.inputs], filled, **HIDDEN,
        )  # fmt: skip
        loaded.then(lambda: None, None, train.layout.load, **HIDDEN)  # so that it may come again
        runs.status.click(
            handler(runs.notice)(self.go_to_run),
            None,
            [*runs.outputs(), self.tabs, self.memory.tab],
            **HIDDEN,
        )
        runs.playground.click(
            handler(runs.notice)(playground.anew(self.go_to_playground)), [self.memory.run],
            [*playground.outputs(), self.tabs, self.memory.tab, runs.notice], **HIDDEN,
        )  # fmt: skip

    def show_data(self, dataset_id: str | None) -> Updates:
        """The data set that was chosen for training, on the tab for data as well."""
        return self.data.show(dataset_id or "")

    def go_to_train(
        self, dataset_id: str, before: str | None, model: str | None, *controls: Any
    ) -> Updates:
        """From the data to its training, where they may have been chosen already."""
        opened = self.memory.open_tab(self.tabs, "train")
        if dataset_id == before:
            return opened
        return {
            **self.train.with_data(dataset_id, model or "", self.train.values(controls)),
            **opened,
        }

    def train_again(self, run: int) -> Updates:
        """From a run to a form with its settings."""
        job = self.services.store.get(run)
        said = run_words.REFILLED.format(name=job.name)
        return {
            **self._everywhere(self.train.fill(job.config, "", said)),
            **self.memory.open_tab(self.tabs, "train"),
        }

    def train_further(self, run: int, dataset: str) -> Updates:
        """From a finished run to a form that goes on from its adapter."""
        job = self.services.store.get(run)
        said = after_words.FURTHER_SAID.format(name=job.name)
        return {
            **self._everywhere(self.train.fill(further(self.services, job), dataset or "", said)),
            **self.memory.open_tab(self.tabs, "train"),
        }

    def load_settings(
        self, path: str | None, dataset: str | None, model: str | None, *controls: Any
    ) -> Updates:
        """From a settings file to a form with its settings."""
        return self._everywhere(self.train.load_settings(path, dataset, model, *controls))

    def _everywhere(self, form: Updates) -> Updates:
        """The data set that a form was filled with is the chosen one on the Data tab as well, or
        a reload would put another in its place."""
        dataset = form.get(self.train.layout.dataset, {}).get("value")
        return {**self.data.show(dataset), **form} if dataset else form

    def go_to_run(self, event: gr.EventData) -> Updates:
        """From the sign of the queue to the run that it names."""
        return {**self.runs.choose(event), **self.memory.open_tab(self.tabs, "runs")}

    def go_to_playground(self, run: int) -> Updates:
        """From a finished run to its adapter."""
        return {**self.playground.refresh(run), **self.memory.open_tab(self.tabs, "playground")}

    def restore(self, tab: str, dataset: str, run: int, form: dict[str, Any]) -> Updates:
        """A fresh page, as the browser remembers the last one."""
        return {
            self.tabs: gr.Tabs(selected=tab if tab in TAB_IDS else "data"),
            **self.data.restore(dataset),
            **self.train.restore(form or {}, dataset),
            **self.runs.restore(run),
            **self.playground.refresh(run),
        }

    def all_outputs(self) -> list[Any]:
        """Everything that ``restore`` may change, once each."""
        parts = (self.data, self.train, self.runs, self.playground)
        return list(dict.fromkeys([self.tabs, *(each for p in parts for each in p.outputs())]))


def build_app(home: Path) -> gr.Blocks:
    """The page over one data folder; ``launch`` serves it."""
    return build_page(Services.open(home))


def build_page(services: Services) -> gr.Blocks:
    """The page over services that are open already."""
    blocks = gr.Blocks(title=common.PRODUCT, analytics_enabled=False, delete_cache=(3600, 86400))
    with blocks:
        page = Page(services)
        add_endpoints(services)
        memory = page.memory
        blocks.load(
            handler(page.data.notice)(page.restore),
            [memory.tab, memory.dataset, memory.run, memory.form],
            page.all_outputs(),
            **HIDDEN,
        ).then(None, None, None, js="() => { window.workbenchRestored = true; }")
    return blocks


def launch_options(services: Services, hosts: Sequence[str] = ("*",)) -> dict[str, Any]:
    """How the page is served: its look, nothing from outside, and the zips.

    ``hosts`` are the names under which it may be asked for.
    """
    return {
        "theme": theme.make_theme(),
        "css_paths": [theme.PAGE_CSS],
        "js": theme.PAGE_JS.read_text(encoding="utf-8"),
        "footer_links": [],
        "run_history": False,
        "show_error": False,
        "share": False,
        "ssr_mode": False,
        "pwa": False,
        "mcp_server": False,
        "enable_monitoring": False,
        "inline": False,
        "quiet": True,
        "max_file_size": MAX_UPLOAD,
        "app_kwargs": {
            "routes": [
                *(zip_route(services), gguf_route(services), answers_route(services)),
                news_route(services),
            ],
            "middleware": [Middleware(TrustedHostMiddleware, allowed_hosts=hosts)],
        },
    }
