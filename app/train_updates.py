"""What the Train tab shows for given values, as updates of its components."""

from contextlib import suppress
from dataclasses import dataclass
from time import monotonic_ns
from typing import Any

import gradio as gr

from app import counts_view, train_form
from app.fields import BY_NAME, PATTERN, TARGETS, applies, classes
from app.fitting import fit, fit_at_hand
from app.guard import Updates
from app.html import muted, notice, plural, text
from app.memory import Memory
from app.presets import known_modules, matching_preset
from app.presets_view import presets_html
from app.services import Services
from app.starting import check_here
from app.train_form import Values
from app.train_layout import TrainLayout
from app.wording import train as words
from jobs.devices import machine
from lora_engine import catalog
from lora_engine.config import TrainConfig
from lora_engine.counts import count_parameters
from lora_engine.data.roles import roles_of_test
from lora_engine.errors import DataError, SettingsError
from lora_engine.needs import memory_needed
from lora_engine.profile import ModelProfile

Choices = list[tuple[str, str]]
"""Label and value of each."""


@dataclass(frozen=True)
class TrainUpdates:
    """Each method gives the changes of the tab; none of them starts anything."""

    services: Services
    layout: TrainLayout
    memory: Memory

    def live(self, dataset: str, model: str, values: Values, told: bool = False) -> Updates:
        """Counts, estimate, presets and sentences next to fields, for the values as they are.

        Where there was ``told`` why a button did nothing, what is still wrong is told there too.
        """
        layout = self.layout
        updates: Updates = {drawn.problem: "" for drawn in layout.fields.values()}
        updates |= dict.fromkeys((layout.dataset_problem, layout.model_problem, layout.trouble), "")
        updates[self.memory.form] = {**values, "base_model": model, "dataset": dataset}
        try:
            seen = fit_at_hand(self.services, model, dataset)
            profile = seen.profile if seen else None
            updates[layout.presets] = presets_html(matching_preset(values, profile))
            task = seen.data_task if seen else ""
            config = train_form.make_config(values, model or "-", dataset or "-", task, profile)
            if profile is not None:
                counts = count_parameters(profile, config.lora)
                here = machine()
                needs = memory_needed(profile, counts.trainable, config, fast_bf16=here.fast_bf16)
                updates[layout.counts] = counts_view.counts_html(
                    counts, config.lora, needs, here.memory
                )
            check_here(self.services, config, profile)
        except SettingsError as error:
            if error.field == TARGETS and values.get(PATTERN):  # which replaces the boxes
                error = SettingsError(PATTERN, str(error))
            said = self._by_label(error)
            blank = {layout.counts: counts_view.blank_html(said), layout.estimate: ""}
            return blank | updates | (self.refusal(error) if told else self.problem(error))
        return updates | {layout.estimate: self._estimate(config, dataset)}

    def shown(self, dataset: str, model: str, values: Values) -> Updates:
        """Show the fields that do something with the other settings, the data and the model."""
        task, profile = self.data_task(dataset), self.profile_at_hand(dataset, model)
        return {
            drawn.box: gr.update(elem_classes=classes(applies(name, values, task, profile)))
            for name, drawn in self.layout.fields.items()
        }

    def data_task(self, dataset: str) -> str:
        """What the rows of a kept data set are for; empty where there is none."""
        try:
            return self.services.library.get(dataset).task if dataset else ""
        except DataError:
            return ""

    def problem(self, error: SettingsError) -> Updates:
        """A sentence next to the field it is about."""
        said = f'<p role="alert">{text(self._by_label(error))}</p>'
        if drawn := self.layout.fields.get(error.field):
            return {drawn.problem: said}
        if error.field == "dataset":
            return {self.layout.dataset_problem: said}
        if error.field == "base_model":
            return {self.layout.model_problem: said}
        return {self.layout.trouble: notice("error", str(error))}

    def refusal(self, error: SettingsError) -> Updates:
        """The same, and under the button that was pressed: its field may be out of sight."""
        layout, field = self.layout, BY_NAME.get(error.field)
        said: Updates = {layout.notice: "", layout.trouble: notice("error", self._by_label(error))}
        if field is not None and field.section != "adapter":
            said[layout.advanced] = gr.update(open=True)
        return {**self.problem(error), **said}

    @staticmethod
    def _by_label(error: SettingsError) -> str:
        """The sentence with the field's label in place of the setting's name."""
        said, name = str(error), error.field.rpartition(".")[2]
        field = BY_NAME.get(error.field)
        if field is None or not said.startswith(f"{name} "):
            return said
        return field.label + said.removeprefix(name)

    def whole(
        self, dataset: str, model: str, values: Values, asked: Values | None = None
    ) -> Updates:
        """The whole form: model, its modules, every field, and what follows from them.

        Modules that this model does not have are passed over; without any left, the model's
        usual ones are chosen. Fields that are in ``asked``, the form as it asked for this (with
        ``base_model`` and ``dataset`` where they count), are given a value only where it is
        another one: a person may have typed meanwhile. Raises ModelError where the model cannot be
        used.
        """
        try:
            profile = fit(self.services, model, dataset).profile
        except SettingsError:  # told by ``live``, at its place
            profile = self.services.profile(model)
        known = known_modules(profile)
        chosen = [name for name in values.get(TARGETS) or () if name in known]
        values = {**values, TARGETS: chosen or list(profile.default_targets)}
        tests = self._tests(dataset)
        if values.get("test_dataset") in self._unfit(tests):
            values["test_dataset"] = ""
        new = {n: v for n, v in values.items() if asked is None or v != asked.get(n)}
        choices = counts_view.module_choices(profile)
        chosen_before = asked or {}
        return {
            self.layout.drawn: monotonic_ns(),
            **self.datasets(dataset, chosen_before.get("dataset") != dataset),
            **self.models(model, chosen_before.get("base_model") != model),
            **self.fields(new),
            **self.shown(dataset, model, values),
            self.layout.fields[TARGETS].control: _choice(choices, TARGETS, new),
            self.layout.model_notice: muted(counts_view.model_sentence(profile)),
            **self.live(dataset, model, values),
            **self._open_choices(model, tests, new),
        }

    def _tests(self, dataset: str) -> Choices:
        """The data sets that can test what is learned from ``dataset``."""
        kept = {each.dataset_id: each for each in self.services.library.list()}
        data = kept.pop(dataset, None)
        fitting = []
        for each in kept.values():
            with suppress(DataError):
                roles_of_test(each, data.roles if data else {})
                fitting.append((each.name, each.dataset_id))
        return fitting

    def _unfit(self, tests: Choices) -> set[str]:
        """The kept data sets that are not among ``tests``."""
        every = {each.dataset_id for each in self.services.library.list()}
        return every - {dataset_id for _, dataset_id in tests}

    def _open_choices(self, model: str, tests: Choices, new: Values) -> Updates:
        """The data sets to test on and the model's adapters to go on from, as they are now."""
        store = self.services.store
        starts = [
            (f"{job.name} (#{job.id})", str(path))
            for job in store.list(limit=0)
            if job.config.base_model == model
            and not job.is_active
            and (path := store.adapter_zip(job.id)) is not None
        ]
        return {
            self.layout.fields[name].control: _choice([(words.NONE, ""), *choices], name, new)
            for name, choices in (("test_dataset", tests), ("start_from", starts))
        }

    def fields(self, values: Values) -> Updates:
        """Other values in some fields."""
        return {self.layout.fields[name].control: value for name, value in values.items()}

    def datasets(self, chosen: str, choose: bool = True) -> Updates:
        """The kept data sets as choices; one that is no longer kept is not chosen."""
        kept = self.services.library.list()
        choices = [(f"{each.name} ({plural(each.rows, 'row')})", each.dataset_id) for each in kept]
        value = chosen if chosen in (each.dataset_id for each in kept) else None
        chosen_too: dict[str, Any] = {"value": value} if choose else {}
        return {self.layout.dataset: gr.update(choices=choices, **chosen_too)}

    def models(self, chosen: str, choose: bool = True) -> Updates:
        """The starter models and the models used before as choices."""
        choices = [
            (words.MODEL_FOR[model.task].format(title=model.title), model.id)
            for model in catalog.list_models(self.services.home)
        ]
        chosen_too: dict[str, Any] = {"value": chosen} if choose else {}
        return {self.layout.model: gr.update(choices=choices, **chosen_too)}

    def profile_at_hand(self, dataset: str, model: str) -> ModelProfile | None:
        """The profile where it answers at once; a model that was not looked at yet has none."""
        try:
            seen = fit_at_hand(self.services, model, dataset)
        except SettingsError:
            return self.services.profile(model)
        return seen.profile if seen else None

    def _estimate(self, config: TrainConfig, dataset: str) -> str:
        try:
            kept = self.services.library.get(dataset) if dataset else None
        except DataError:
            kept = None
        if kept is None or not kept.rows:
            return ""
        rows = train_form.pieces(config, kept)
        sentence = train_form.estimate_sentence(config, rows)
        if rows > kept.rows:
            cut = words.ESTIMATE_PIECES.format(length=config.max_length, pieces=f"{rows:,}")
            sentence = f"{cut} {sentence}"
        warning = train_form.estimate_warning(config, rows)
        return (
            f'<div class="estimate"><h3>{text(words.ESTIMATE_TITLE)}</h3>{muted(sentence)}'
            f"{notice('warning', warning) if warning else ''}</div>"
        )

    def outputs(self) -> list[Any]:
        """Everything the updates may change."""
        layout = self.layout
        problems = [drawn.problem for drawn in layout.fields.values()]
        return [
            *(*layout.inputs, *problems, layout.dataset_problem, layout.model_problem),
            layout.model_notice,
            *(layout.presets, layout.counts, layout.estimate, layout.name, layout.notice),
            *(layout.trouble, layout.advanced),
            *(drawn.box for drawn in layout.fields.values()),
            *(
                layout.saved,
                layout.restored,
                layout.drawn,
                self.memory.form,
                self.memory.run,
                self.memory.tab,
            ),
        ]


def _choice(choices: list[tuple[str, str]], name: str, new: Values) -> Any:
    """Other choices, and the new value where there is one."""
    if name not in new:
        return gr.update(choices=choices)
    return gr.update(choices=choices, value="" if new[name] is None else new[name])
