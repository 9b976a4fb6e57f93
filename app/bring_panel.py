"""Bringing an adapter that was made elsewhere into the list of runs."""

from collections.abc import Iterator

import gradio as gr

from app import making
from app.guard import HIDDEN, Updates, handler
from app.html import notice, text
from app.long_work import told
from app.memory import Memory
from app.pieces import piece
from app.services import Services
from app.uploads import discard
from app.wording import after as words
from lora_engine.errors import AdapterError, SettingsError
from lora_engine.paths import existing


class BringPanel:
    """Bring an adapter that was made elsewhere."""

    def __init__(self, services: Services, memory: Memory) -> None:
        self.services = services
        self.run = memory.run
        with gr.Accordion(words.BRING_TITLE, open=False, elem_id="bring-adapter"):
            piece(f'<p class="help">{text(words.BRING_HINT)}</p>')
            self.file = gr.UploadButton(words.BRING_FILE, size="sm", file_types=[".zip"])
            self.path = gr.Textbox("", label=words.BRING_PATH, max_lines=1, elem_id="bring-path")
            self.base = gr.Textbox("", label=words.BRING_BASE, max_lines=1, elem_id="bring-base")
            self.add = gr.Button(words.BRING, size="sm", elem_id="bring")
            self.notice = piece(elem_classes="place", elem_id="bring-notice")
        self.brought = gr.State(0)
        """The run that the message is about."""
        outputs = [self.run, self.notice, self.path, self.brought]
        guard = handler(self.notice)
        self.file.upload(guard(self.bring), [self.file, self.base], outputs, **HIDDEN)
        self.add.click(guard(self.bring), [self.path, self.base], outputs, **HIDDEN)
        self.run.change(
            handler(self.notice, clear=False)(self.follow),
            [self.run, self.brought], outputs, queue=False, **HIDDEN,
        )  # fmt: skip

    def bring(self, path: str | None, base: str | None) -> Iterator[Updates]:
        """Check it and put it into the list."""
        if not (path or "").strip():
            raise SettingsError("path", words.BRING_NOTHING)
        said = str(path).strip()
        file = existing(said)
        if file is None:
            raise AdapterError(words.BRING_NONE.format(path=said))
        name = base or ""
        for step in told(
            self.notice, lambda tell: making.bring_in(self.services, file, name, tell)
        ):
            if isinstance(step, dict):
                yield step
            else:
                job = step
        discard(str(file))
        brought = notice("success", words.BROUGHT.format(name=job.name))
        yield {self.run: job.id, self.notice: brought, self.path: "", self.brought: job.id}

    def follow(self, run: int, brought: int) -> Updates:
        """Another run is chosen: what was said of the brought one goes."""
        return {self.notice: gr.skip() if run == brought else ""}
