"""Check settings against the data and the model, and put a run into the queue."""

from app.services import Services
from app.wording import train as words
from jobs.job import Job
from lora_engine import catalog
from lora_engine.config import TrainConfig
from lora_engine.errors import DataError, ModelError, SettingsError


def start_training(services: Services, config: TrainConfig, name: str = "") -> Job:
    """Enqueue ``config``, whose ``dataset`` is a kept set's id.

    The data set's present column roles become part of the run's settings, so that a later change
    of them does not change what this run learned from.

    Raises:
        SettingsError: data set, model or target modules cannot be used; ``field`` says which.
    """
    try:
        dataset = services.library.get(config.dataset)
    except DataError as error:
        raise SettingsError("dataset", str(error)) from None
    if not dataset.rows:
        raise SettingsError("dataset", words.DATASET_EMPTY.format(name=dataset.name))
    try:
        profile = services.profile(config.base_model)
    except ModelError as error:
        raise SettingsError("base_model", str(error)) from None
    profile.targets(config.lora)
    if not catalog.is_starter(config.base_model):
        catalog.remember(config.base_model, services.home)
    if config.roles is None:
        config = config.model_copy(update={"roles": dataset.roles})
    return services.store.enqueue(config, name.strip() or dataset.name)
