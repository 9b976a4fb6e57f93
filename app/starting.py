"""Check settings against the data and the model, and put a run into the queue."""

from contextlib import suppress
from pathlib import Path

from app.comparing import adapter_of
from app.fitting import fit_run
from app.services import Services
from app.wording import train as words
from jobs.job import Job
from lora_engine import catalog
from lora_engine.adapter_config import read_settings
from lora_engine.config import LoraConfig, TrainConfig
from lora_engine.continued import check_same
from lora_engine.counts import count_parameters
from lora_engine.data.labels import only_one
from lora_engine.data.nouns import Dataset
from lora_engine.data.roles import check_roles, roles_of_test
from lora_engine.errors import AdapterError, DataError, ModelError, SettingsError
from lora_engine.extras import check_extras
from lora_engine.paths import existing, existing_file
from lora_engine.profile import ModelProfile


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
    if not dataset.rows and config.roles in (None, dataset.roles):
        raise SettingsError("dataset", words.DATASET_EMPTY.format(name=dataset.name))
    try:
        fitting = fit_run(services, config)
    except ModelError as error:
        raise SettingsError("base_model", str(error)) from None
    count_parameters(fitting.profile, config.lora)
    check_here(services, config, fitting.profile)
    if not catalog.is_starter(config.base_model):
        catalog.remember(config.base_model, services.home)
    if config.roles is not None:
        try:
            check_roles(config.roles, dataset.columns)
        except DataError as error:
            raise SettingsError("roles", str(error)) from None
    else:
        config = config.model_copy(update={"roles": dataset.roles})
    return services.store.enqueue(config, name.strip() or dataset.name)


def further(services: Services, job: Job) -> TrainConfig:
    """A run's settings for one that goes on from its adapter; raises AdapterError without one."""
    start = adapter_of(services, job)
    lora = goes_on(job.config.lora, start)
    return job.config.model_copy(update={"start_from": str(start), "lora": lora})


def goes_on(lora: LoraConfig, adapter: Path) -> LoraConfig:
    """The settings of a run that begins with ``adapter``, which a run with ``lora`` has made.

    What did not start at B·A = 0 was saved as a pair of another rank, and starts only once.
    """
    if lora.init_lora_weights == "kaiming":
        return lora
    own = {"lora_dropout": lora.lora_dropout, "loraplus_lr_ratio": lora.loraplus_lr_ratio}
    saved = read_settings(adapter).lora
    return saved.model_copy(update={**own, "init_lora_weights": "kaiming"})


def check_here(services: Services, config: TrainConfig, profile: ModelProfile | None) -> None:
    """Whether this machine has what the settings ask for; ``profile`` is the model's, if known.

    Raises:
        SettingsError: a package, an adapter or test data is missing, all rows have one label, or
            the adapter to start from is another one than the settings mean; ``field`` says for
            which setting.
    """
    check_extras(config)
    data = None
    with suppress(DataError):  # told elsewhere
        data = services.library.get(config.dataset)
    if data is not None and config.roles in (None, data.roles):
        _check_labels(data, config)
    test = config.test_dataset
    if test is not None and existing_file(test) is None:
        _check_test(services, test, config.roles or (data.roles if data else {}))
    if config.start_from is not None:
        _check_start(config.start_from, config, profile)


def _check_labels(data: Dataset, config: TrainConfig) -> None:
    if data.task == "classification" and config.task != "text" and len(data.label_counts) == 1:
        raise SettingsError("dataset", only_one(next(iter(data.label_counts))))


def _check_test(services: Services, test: str, roles: dict[str, str]) -> None:
    """``roles``: of the training data; none where that is not chosen yet."""
    try:
        roles_of_test(services.library.get(test), roles)
    except DataError as error:
        raise SettingsError("test_dataset", str(error)) from None


def _check_start(said: str, config: TrainConfig, profile: ModelProfile | None) -> None:
    start = existing(said)
    if start is None:
        raise SettingsError("start_from", words.NO_START.format(path=said))
    try:
        lora = read_settings(start).lora
        if profile is not None:
            check_same(lora, config.lora, profile)
    except AdapterError as error:
        raise SettingsError("start_from", str(error)) from None
