"""How a data set and a model go together: the task, and the profile that its counts come from."""

from collections.abc import Mapping
from dataclasses import dataclass

from app.services import Services
from lora_engine.config import Task, TrainConfig
from lora_engine.data.roles import task_of
from lora_engine.errors import DataError, ModelError, SettingsError
from lora_engine.profile import PROFILE_LABELS, ModelProfile
from lora_engine.tasks.choice import check_metric, choose_task


@dataclass(frozen=True)
class Fit:
    """What would be learned."""

    profile: ModelProfile
    """With the head that the task needs."""
    data_task: str
    """``Dataset.task``; empty where no data set is chosen."""


def fit_run(services: Services, config: TrainConfig) -> Fit:
    """Look at a run's model as it will be trained; see ``fit``."""
    found = fit(services, config.base_model, config.dataset, config.task, config.roles)
    if found.data_task:
        task = found.data_task if config.task == "auto" else config.task
        check_metric(config.metric_for_best_model, task)
    return found


def fit(
    services: Services,
    model: str,
    dataset_id: str,
    wanted: Task = "auto",
    roles: Mapping[str, str] | None = None,
) -> Fit:
    """Look at a model as it will be trained on a data set; without one, as it is.

    ``roles`` are those of the run where they are other ones than the data set's own.

    Raises:
        ModelError: the model cannot be found or used.
        SettingsError: model and data do not go together.
    """
    made_for = services.profile(model)
    try:
        data = services.library.get(dataset_id) if dataset_id else None
    except DataError:
        data = None
    if data is None:
        return Fit(made_for, "")
    is_own = roles is None or roles == data.roles
    data_task = data.task if is_own else task_of(roles or {})
    task = choose_task(wanted, data_task, made_for.task)
    if task != "classification":
        return Fit(made_for, data_task)
    labels = len(data.label_counts) if is_own else 0  # nobody has counted those of other columns
    try:
        return Fit(services.profile(model, task, labels or PROFILE_LABELS), data_task)
    except ModelError as error:
        raise SettingsError("base_model", str(error)) from None


def fit_at_hand(services: Services, model: str, dataset_id: str) -> Fit | None:
    """The same where it answers at once; a model that was not looked at yet gives None."""
    if not model or not services.knows_profile(model):
        return None
    return fit(services, model, dataset_id)
