"""What happens on the Train tab: live counts, presets, settings files, and starting a run."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gradio as gr

from app import counts_view, train_form
from app.fields import TARGETS
from app.guard import HIDDEN, Updates, handler
from app.html import muted, notice, text
from app.memory import Memory
from app.presets import PRESETS, every_module, matching_preset, preset_values
from app.presets_view import presets_html
from app.services import Services
from app.starting import start_training
from app.train_form import Values
from app.train_layout import TrainLayout
from app.wording import train as words
from lora_engine import catalog
from lora_engine.config import TrainConfig
from lora_engine.errors import DataError, ModelError, SettingsError, WorkbenchError
from lora_engine.profile import ModelProfile, count_parameters

SAVE_JS = f"""(settings) => {{
  if (!settings) return;
  const link = document.createElement('a');
  link.href = URL.createObjectURL(new Blob([settings], {{type: 'application/json'}}));
  link.download = {json.dumps(words.SETTINGS_FILE)};
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 1000);
}}"""


class TrainTab(TrainLayout):
    """Handlers; each gets the whole form (data set, model, controls) and answers with changes."""

    def __init__(self, services: Services, memory: Memory, tabs: gr.Tabs) -> None:
        super().__init__()
        self.services = services
        self.memory = memory
        self.tabs = tabs
        self._connect()

    def _connect(self) -> None:
        outputs = self.outputs()
        live: dict[str, Any] = {**HIDDEN, "queue": False, "trigger_mode": "always_last"}
        guard = handler(self.notice)
        gr.on(
            [self.dataset.change, *(control.change for control in self.controls)],
            guard(self.recount), self.inputs, outputs, **live,
        )  # fmt: skip
        self.model.change(
            handler(self.what_notice)(self.pick_model), self.inputs, outputs, **HIDDEN
        )
        self.presets.click(guard(self.use_preset), [self.model], outputs, **HIDDEN)
        self.usual.click(guard(self.use_usual), [self.model], outputs, **HIDDEN)
        self.all_modules.click(guard(self.use_all), [self.model], outputs, **HIDDEN)
        self.start.click(
            guard(self.start_run), [self.name, *self.inputs], outputs, api_visibility="private",
            show_progress="minimal", show_progress_on=[self.notice],
        )  # fmt: skip
        self.save.click(guard(self.save_settings), self.inputs, outputs, **HIDDEN).then(
            None, self.saved, None, js=SAVE_JS
        )
        self.load.upload(guard(self.load_settings), [self.load, *self.inputs], outputs, **HIDDEN)

    def outputs(self) -> list[Any]:
        """Everything the handlers may change."""
        problems = [drawn.problem for drawn in self.fields.values()]
        return [
            *(
                *self.inputs,
                *problems,
                self.what_notice,
                self.presets,
                self.counts,
            ),
            *(self.estimate, self.name, self.notice, self.saved, self.tabs),
            *(self.memory.form, self.memory.run),
        ]

    def values(self, controls: tuple[Any, ...]) -> Values:
        """The controls' values by setting name."""
        return dict(zip(self.fields, controls, strict=True))

    # Live counts

    def recount(self, dataset: str | None, model: str | None, *controls: Any) -> Updates:
        """Counts, estimate and sentences for the values as they are now."""
        return self._recount(dataset or "", model or "", self.values(controls))

    def _recount(self, dataset: str, model: str, values: Values) -> Updates:
        updates: Updates = {drawn.problem: "" for drawn in self.fields.values()}
        updates[self.memory.form] = {**values, "base_model": model}
        profile = self._profile_at_hand(model)
        preset = matching_preset(values, profile)
        updates[self.presets] = presets_html(preset)
        try:
            config = train_form.make_config(values, model or "-", dataset or "-")
            if profile is not None:
                counts = count_parameters(profile, config.lora)
                updates[self.counts] = counts_view.counts_html(counts, config.lora)
        except SettingsError as error:
            return updates | self._problem(error)
        return updates | {self.estimate: self._estimate(config, dataset)}

    def _problem(self, error: SettingsError) -> Updates:
        """A sentence next to the field it is about."""
        said = f'<p role="alert">{text(error)}</p>'
        if drawn := self.fields.get(error.field):
            return {drawn.problem: said}
        place = self.what_notice if error.field in ("dataset", "base_model") else self.notice
        return {place: notice("error", str(error))}

    def _estimate(self, config: TrainConfig, dataset: str) -> str:
        try:
            rows = self.services.library.get(dataset).rows if dataset else 0
        except DataError:
            rows = 0
        if not rows:
            return ""
        sentence = train_form.estimate_sentence(config, rows)
        return f'<div class="estimate"><h3>{text(words.ESTIMATE_TITLE)}</h3>{muted(sentence)}</div>'

    def _profile_at_hand(self, model: str) -> ModelProfile | None:
        """The profile where it answers at once; a model that was not looked at yet has none."""
        known = bool(model) and self.services.knows_profile(model)
        return self.services.profile(model) if known else None

    # Choosing

    def pick_model(
        self, dataset: str | None, model: str | None, *controls: Any
    ) -> Iterator[Updates]:
        """Look into the chosen model and offer its modules."""
        model = (model or "").strip()
        if not model:
            return
        if not self.services.knows_profile(model):
            yield {self.what_notice: notice("busy", words.INSPECTING.format(model=model))}
        try:
            profile = self.services.profile(model)
        except WorkbenchError:
            yield {self.counts: muted(words.COUNTS_WAIT)}
            raise
        if not catalog.is_starter(model):
            catalog.remember(model, self.services.home)
        values = self.values(controls)
        fitting = [name for name in values[TARGETS] or [] if name in every_module(profile)]
        values[TARGETS] = fitting or list(profile.default_targets)
        yield {
            **self._recount(dataset or "", model, values),
            **self._modules(profile, values[TARGETS]),
            self.what_notice: muted(counts_view.model_sentence(profile)),
        }

    def _modules(self, profile: ModelProfile, chosen: list[str] | None) -> Updates:
        value = list(profile.default_targets) if chosen is None else chosen
        choices = counts_view.module_choices(profile)
        return {self.fields[TARGETS].control: gr.update(choices=choices, value=value)}

    def use_preset(self, model: str | None, event: gr.EventData) -> Updates:
        """Fill the form from the preset whose card was pressed."""
        profile = self._profile_at_hand(model or "")
        return self._fill_controls(preset_values(PRESETS[str(event.id)], profile))

    def use_usual(self, model: str | None) -> Updates:
        """Choose query and value, by whatever names this model gives them."""
        profile = self.services.profile(model or "")
        return self._fill_controls({TARGETS: list(profile.default_targets)})

    def use_all(self, model: str | None) -> Updates:
        """Choose every module there is."""
        return self._fill_controls(
            {TARGETS: list(every_module(self.services.profile(model or "")))}
        )

    def _fill_controls(self, values: Values) -> Updates:
        return {self.fields[name].control: value for name, value in values.items()}

    # Settings files, and going on from earlier settings

    def save_settings(self, dataset: str | None, model: str | None, *controls: Any) -> Updates:
        """Hand the settings to the browser as a file that the command line takes too."""
        updates: Updates = {self.saved: ""}
        try:
            config = train_form.make_config(self.values(controls), model or "", dataset or "")
        except SettingsError as error:
            return updates | self._problem(error)
        return {self.saved: json.dumps(config.to_json(), indent=2, ensure_ascii=False)}

    def load_settings(
        self, path: str | None, dataset: str | None, model: str | None, *controls: Any
    ) -> Updates:
        """Fill the form from a settings file; a bad file changes nothing."""
        if path is None:
            return {}
        del controls
        read = Path(path).read_bytes()
        config = train_form.read_config(read, base_model=model or "", dataset=dataset or "")
        updates = self.fill(config)
        said = words.LOADED.format(name=Path(path).name)
        if updates.get(self.dataset) is None:
            said += words.LOADED_NO_DATA
        return {**updates, self.notice: notice("success", said)}

    def fill(self, config: TrainConfig) -> Updates:
        """The whole form for ``config``; a data set that is no longer kept is not chosen."""
        profile = self.services.profile(config.base_model)
        values = train_form.form_values(config)
        updates = self._modules(profile, values.pop(TARGETS)) | self._fill_controls(values)
        updates[self.model] = gr.update(value=config.base_model, choices=self.model_choices())
        choices = self.dataset_choices()
        if config.dataset in [value for _, value in choices]:
            updates[self.dataset] = gr.update(choices=choices, value=config.dataset)
        return updates

    def restore(self, form: dict[str, Any], dataset: str) -> Updates:
        """The form as the browser remembers it, or the defaults."""
        values = self.start_values | {k: v for k, v in form.items() if k in self.fields}
        model = str(form.get("base_model") or next(iter(self.model_choices()))[1])
        updates = self.datasets(dataset) | {
            self.model: gr.update(choices=self.model_choices(), value=model)
        }
        try:
            profile = self.services.profile(model)
        except ModelError:
            return updates
        chosen = values.pop(TARGETS, None)
        known = set(every_module(profile))
        fitting = [name for name in chosen if name in known] if chosen is not None else None
        return updates | self._modules(profile, fitting) | self._fill_controls(values)

    # The lists

    def datasets(self, chosen: str) -> Updates:
        """The kept data sets as choices, the one of the Data tab chosen."""
        choices = self.dataset_choices()
        value = chosen if chosen in [value for _, value in choices] else None
        return {self.dataset: gr.update(choices=choices, value=value)}

    def dataset_choices(self) -> list[tuple[str, str]]:
        """Kept data sets: name and row count, id."""
        return [
            (f"{each.name} ({each.rows:,} rows)", each.dataset_id)
            for each in self.services.library.list()
        ]

    def model_choices(self) -> list[tuple[str, str]]:
        """Starter models and models used before: title, id."""
        return [
            (model.title, model.id)
            for model in catalog.list_models(self.services.home)
            if model.task == "chat"
        ]

    # Starting

    def start_run(
        self, name: str, dataset: str | None, model: str | None, *controls: Any
    ) -> Updates:
        """Put a run into the queue and show it."""
        try:
            config = train_form.make_config(self.values(controls), model or "", dataset or "")
            job = start_training(self.services, config, name)
        except SettingsError as error:
            return self._problem(error)
        return {
            self.notice: notice("success", words.STARTED.format(job=job.id)),
            self.memory.run: job.id,
            self.tabs: gr.Tabs(selected="runs"),
            self.name: "",
        }
