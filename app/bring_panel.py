"""Bringing an adapter that was made elsewhere into the list of runs."""

from collections.abc import Iterator

import gradio as gr

from app.bringing import bring_in
from app.guard import HIDDEN, Updates, at_each, handler
from app.html import help_text, notice
from app.long_work import told
from app.making import Tell
from app.memory import Memory
from app.pieces import piece
from app.services import Services
from app.uploads import discard
from app.wording import after as words
from jobs.job import Job
from lora_engine.errors import AdapterError, SettingsError
from lora_engine.paths import existing
from lora_engine.registry import QUANTIZATIONS

BITS = [*words.BRING_BITS_CHOICES, *((said, kind) for kind, said in QUANTIZATIONS.items())]


class BringPanel:
    """Bring an adapter that was made elsewhere."""

    def __init__(self, services: Services, memory: Memory) -> None:
        self.services = services
        self.run = memory.run
        with gr.Accordion(words.BRING_TITLE, open=False, elem_id="bring-adapter"):
            piece(help_text(words.BRING_HINT))
            self.base = gr.Textbox("", label=words.BRING_BASE, max_lines=1, elem_id="bring-base")
            self.bits = gr.Dropdown(BITS, value="", label=words.BRING_BITS, elem_id="bring-bits")
            piece(help_text(words.BRING_BITS_HELP))
            # last, as a zip is taken as soon as it is chosen
            self.file = gr.UploadButton(words.BRING_FILE, size="sm", file_types=[".zip"])
            self.path = gr.Textbox("", label=words.BRING_PATH, max_lines=1, elem_id="bring-path")
            self.add = gr.Button(words.BRING, size="sm", elem_id="bring")
            self.notice = piece(elem_classes="place", elem_id="bring-notice")
        self.brought = gr.State(0)
        """The run that the message is about."""
        outputs = [self.run, self.notice, self.path, self.brought]
        guard = handler(self.notice)
        self.file.upload(guard(self.bring), [self.file, self.base, self.bits], outputs, **HIDDEN)
        self.add.click(guard(self.bring), [self.path, self.base, self.bits], outputs, **HIDDEN)
        at_each(
            self.run.change, handler(self.notice, clear=False)(self.follow),
            [self.run, self.brought], [self.notice], queue=False,
        )  # fmt: skip

    def bring(self, path: str | None, base: str | None, bits: str | None) -> Iterator[Updates]:
        """Check it and put it into the list."""
        if not (path or "").strip():
            raise SettingsError("path", words.BRING_NOTHING)
        said = str(path).strip()
        file = existing(said)
        if file is None:
            raise AdapterError(words.BRING_NONE.format(path=said))
        model, held = base or "", bits or ""

        def work(tell: Tell) -> Job:
            return bring_in(self.services, file, model, tell, quantization=held)

        for step in told(self.notice, work):
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
