"""What happens on the Train tab: live counts, presets, settings files, and starting a run."""

import json
from collections.abc import Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import gradio as gr

from app import train_form
from app.data_view import learn_sentence
from app.fields import DECIDING, TARGETS
from app.fitting import fit
from app.guard import HIDDEN, Updates, at_each, handler
from app.html import muted, notice, text
from app.memory import Memory
from app.presets import PRESETS, known_modules, matching_preset, preset_values
from app.services import Services
from app.starting import start_training
from app.tensors_panel import TensorsPanel
from app.train_form import Values
from app.train_layout import TrainLayout
from app.train_updates import TrainUpdates
from app.wording import train as words
from lora_engine import catalog
from lora_engine.config import TrainConfig
from lora_engine.errors import ModelError, SettingsError, WorkbenchError
from lora_engine.starters import STARTERS

SAVE_JS = f"""(settings) => {{
  if (!settings) return;
  const link = document.createElement('a');
  link.href = URL.createObjectURL(new Blob([settings], {{type: 'application/json'}}));
  link.download = {json.dumps(words.SETTINGS_FILE)};
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 1000);
}}"""

LOOKS_AT_ONCE = 3
"""Models that all windows together look into; each may take a process of its own."""


class TrainTab:
    """Handlers; each gets the whole form (data set, model, controls) and answers with changes."""

    def __init__(self, services: Services, memory: Memory, tabs: gr.Tabs) -> None:
        self.services = services
        self.memory = memory
        self.tabs = tabs
        self.layout = TrainLayout()
        self.show = TrainUpdates(services, self.layout, memory)
        with self.layout.main:
            self.tensors = TensorsPanel(services, self.layout)
        self._connect()

    def _connect(self) -> None:
        layout, outputs = self.layout, self.outputs()
        guard = handler(layout.notice)
        # without preprocessing: a late request may name modules of the model before
        late: dict[str, Any] = {**HIDDEN, "preprocess": False}
        layout.dataset.input(guard(self.pick_data), layout.inputs, outputs, **late)
        at_each(
            partial(gr.on, [layout.fields[name].control.change for name in DECIDING]),
            # filling the form changes them, too, and has said something
            handler(layout.notice, clear=False)(self.pick_deciding),
            layout.inputs,
            outputs,
            **late,
            queue=False,
        )
        changes = [layout.dataset.change, *(control.change for control in layout.controls)]
        changes.append(layout.drawn.change)
        at_each(
            partial(gr.on, changes),
            handler(layout.trouble, clear=False)(self.recount),  # gone once it can be counted
            [layout.restored, layout.trouble, *layout.inputs],
            outputs,
            **late,
            queue=False,
        )
        # a model chosen while another is looked at comes after it; windows wait less for each other
        layout.model.input(
            handler(layout.model_notice)(self.pick_model), layout.inputs, outputs,
            **late, trigger_mode="always_last", concurrency_limit=LOOKS_AT_ONCE,
        )  # fmt: skip
        chosen = [layout.dataset, layout.model]
        layout.presets.click(guard(self.use_preset), chosen, outputs, **HIDDEN)
        layout.usual.click(guard(self.use_usual), chosen, outputs, **HIDDEN)
        layout.all_modules.click(guard(self.use_all), chosen, outputs, **HIDDEN)
        layout.start.click(guard(self.start_run), [layout.name, *layout.inputs], outputs, **HIDDEN)
        layout.save.click(guard(self.save_settings), layout.inputs, outputs, **HIDDEN).then(
            None, layout.saved, None, js=SAVE_JS
        )

    def outputs(self) -> list[Any]:
        """Everything the handlers may change."""
        return [*self.show.outputs(), self.tabs]

    def values(self, controls: tuple[Any, ...]) -> Values:
        """The controls' values by setting name."""
        return dict(zip(self.layout.fields, controls, strict=True))

    def _config(
        self, dataset: str | None, model: str | None, controls: tuple[Any, ...]
    ) -> TrainConfig:
        dataset, model = dataset or "", model or ""
        task, profile = self.show.data_task(dataset), self.show.profile_at_hand(dataset, model)
        return train_form.make_config(self.values(controls), model, dataset, task, profile)

    def recount(
        self,
        restored: bool,
        trouble: str | None,
        dataset: str | None,
        model: str | None,
        *controls: Any,
    ) -> Updates:
        """Counts, estimate and sentences for the values as they are now.

        What a page shows before it is ``restored`` must not take the place of what the browser
        remembers: a second reload would find the defaults.
        """
        values = self.values(controls)
        if profile := self.show.profile_at_hand(dataset or "", model or ""):
            known = known_modules(profile)
            values[TARGETS] = [name for name in values[TARGETS] or () if name in known]
        updates = self.show.live(dataset or "", model or "", values, told=bool(trouble))
        missing = not dataset and text(words.DATASET_NONE) in (trouble or "")
        if not updates[self.layout.trouble] and (not trouble or missing):
            del updates[self.layout.trouble]  # a button may have been pressed meanwhile
        if not dataset:
            del updates[self.layout.dataset_problem]  # the same, and it is still missing
        if not restored:
            del updates[self.memory.form]
        return updates

    def pick_model(
        self, dataset: str | None, model: str | None, *controls: Any
    ) -> Iterator[Updates]:
        """Look into the chosen model and offer its modules."""
        typed, model = model, (model or "").strip()
        if not model:
            return
        if not self.services.knows_profile(model):
            said = words.INSPECTING.format(model=model)
            yield {self.layout.model_notice: notice("busy", said), self.layout.trouble: ""}
        try:
            fit(self.services, model, dataset or "")
        except SettingsError:
            pass  # the whole form says it
        except WorkbenchError:
            yield {self.layout.counts: muted(words.COUNTS_WAIT)}
            raise
        if not catalog.is_starter(model):
            catalog.remember(model, self.services.home)
        asked = self.values(controls) | {"base_model": typed, "dataset": dataset or ""}
        yield self.show.whole(dataset or "", model, self.values(controls), asked)

    def pick_data(self, dataset: str | None, model: str | None, *controls: Any) -> Updates:
        """Take other data; a starter model gives way to the one that is made for such data."""
        return self.with_data(dataset or "", model or "", self.values(controls))

    def follow(
        self, restored: bool, chosen: str, dataset: str | None, model: str | None, *controls: Any
    ) -> Updates:
        """The data set that was chosen elsewhere on the page; the list of them as it is now.

        A page that is not ``restored`` yet shows defaults, which must not take the place of what
        the browser remembers.
        """
        if not restored or not chosen or chosen == dataset:
            return self.show.datasets(chosen)
        return self.with_data(chosen, model or "", self.values(controls))

    def with_data(self, dataset: str, model: str, values: Values) -> Updates:
        """The whole form for a data set that a person has chosen.

        Where the model stays, so does what was said: why it is another may not be read yet.
        """
        model, fitting, said = self._for_data(dataset, model, values)
        updates = self.show.whole(dataset, model, fitting, values)
        return updates | ({self.layout.notice: notice("info", said)} if said else {})

    def _for_data(self, dataset: str, model: str, values: Values) -> tuple[str, Values, str]:
        """The model and the settings for a data set, and a sentence where the model is another.

        Where the settings are a preset's they become that preset's for the new data.
        """
        kind = "classification" if self.show.data_task(dataset) == "classification" else "chat"
        preset = matching_preset(values, self.show.profile_at_hand("", model))
        said, starter = "", STARTERS.get(model)
        if starter is not None and starter.task != kind:
            better = next(each for each in STARTERS.values() if each.task == kind)
            model, said = better.id, words.MODEL_FOLLOWS.format(title=better.title)
        if preset is not None:
            with suppress(SettingsError):  # data and model do not go together, which ``live`` tells
                profile = fit(self.services, model, dataset).profile
                values = values | preset_values(PRESETS[preset], profile)
        return model, values, said

    def pick_deciding(self, dataset: str | None, model: str | None, *controls: Any) -> Updates:
        """Show the fields that do something beside the setting that was changed."""
        return self.show.shown(dataset or "", model or "", self.values(controls))

    def use_preset(self, dataset: str | None, model: str | None, event: gr.EventData) -> Updates:
        """Fill the form from the preset whose card was pressed."""
        profile = self.show.profile_at_hand(dataset or "", model or "")
        return self.show.fields(preset_values(PRESETS[str(event.id)], profile))

    def use_usual(self, dataset: str | None, model: str | None) -> Updates:
        """Choose query and value, by whatever names this model gives them."""
        profile = fit(self.services, model or "", dataset or "").profile
        return self.show.fields({TARGETS: list(profile.default_targets)})

    def use_all(self, dataset: str | None, model: str | None) -> Updates:
        """Choose every linear layer, and neither embedding nor output head."""
        profile = fit(self.services, model or "", dataset or "").profile
        return self.show.fields({TARGETS: list(profile.linear_names)})

    def save_settings(self, dataset: str | None, model: str | None, *controls: Any) -> Updates:
        """Hand the settings to the browser as a file that the command line takes too."""
        try:
            config = self._config(dataset, model, controls)
        except SettingsError as error:
            return {self.layout.saved: "", **self.show.refusal(error)}
        saved = json.dumps(config.to_json(), indent=2, ensure_ascii=False)
        return {self.layout.saved: saved, self.layout.trouble: ""}

    def load_settings(
        self, path: str | None, dataset: str | None, model: str | None, *_controls: Any
    ) -> Updates:
        """Fill the form from a settings file; a bad file changes nothing."""
        if path is None:
            return {}
        said = words.LOADED.format(name=Path(path).name)
        try:
            config = train_form.read_config(
                Path(path).read_bytes(), base_model=model or "", dataset=dataset or ""
            )
            return self.fill(config, dataset or "", said)
        except WorkbenchError as error:
            return {self.layout.notice: "", self.layout.trouble: notice("error", str(error))}

    def fill(self, config: TrainConfig, dataset: str, said: str) -> Updates:
        """The whole form for ``config``; where its data set is gone, ``dataset`` stays.

        What its columns mean belongs to the data set, not to the form: it stays as it is now.
        """
        kept = {each.dataset_id: each for each in self.services.library.list()}
        if data := kept.get(config.dataset):
            dataset = config.dataset
            if config.roles not in (None, data.roles):
                said += words.LOADED_ROLES.format(learned=learn_sentence(data.roles))
        else:
            said += words.LOADED_NO_DATA
        return {
            **self.show.whole(dataset, config.base_model, train_form.form_values(config)),
            self.layout.notice: notice("success", said),
        }

    def restore(self, form: dict[str, Any], dataset: str) -> Updates:
        """The form as the browser remembers it, or the defaults."""
        layout = self.layout
        known = {name: value for name, value in form.items() if name in layout.fields}
        model = str(form.get("base_model") or layout.first_model)
        values = layout.start_values | known
        done: Updates = {layout.restored: True}
        try:
            if dataset and dataset != form.get("dataset"):  # chosen after the form was left
                model, values, said = self._for_data(dataset, model, values)
                if said:
                    done[layout.notice] = notice("info", said)
            return self.show.whole(dataset, model, values) | done
        except ModelError as error:  # a folder that is no longer there, for example
            first = self.show.whole(dataset, layout.first_model, layout.start_values | known)
            return {**done, **first, layout.model_notice: notice("warning", str(error))}

    def start_run(
        self, name: str | None, dataset: str | None, model: str | None, *controls: Any
    ) -> Updates:
        """Put a run into the queue and show it."""
        try:
            config = self._config(dataset, model, controls)
            job = start_training(self.services, config, name or "")
        except SettingsError as error:
            return self.show.refusal(error)
        return {
            self.layout.trouble: "",
            self.memory.run: job.id,
            **self.memory.open_tab(self.tabs, "runs"),
            self.layout.name: "",
        }
