"""Endpoints about models: which there are, and what the settings train in one."""

from app.endpoints.arguments import Door, Json, json_object, text
from app.fitting import fit
from lora_engine import catalog
from lora_engine.config import LoraConfig
from lora_engine.counts import count_parameters
from lora_engine.profile import ModelProfile
from lora_engine.table import filtered, tensor_table


class ModelEndpoints(Door):
    """One method an endpoint; the names of methods and arguments are promises."""

    def list_models(self) -> list[Json]:
        """The starter models and the models used before."""
        return [
            {
                "id": model.id,
                "title": model.title,
                "task": model.task,
                "parameters": model.parameters,
                "ready": model.ready,
            }
            for model in catalog.list_models(self.services.home)
        ]

    def count_parameters(self, base_model: str, settings: Json | str = "") -> Json:
        """Exact counts of what a LoraConfig trains in a model.

        With ``dataset_id`` among the settings the model has the head that those rows need: one
        output a label.
        """
        given, dataset_id = _apart(settings)
        lora = LoraConfig.parse(given)
        profile = self._profile(base_model, dataset_id)
        return count_parameters(profile, lora).model_dump(mode="json")

    def parameter_table(
        self, base_model: str, settings: Json | str = "", name: str = ""
    ) -> list[Json]:
        """Every tensor whose name has ``name`` in it, or matches it as a regular expression: name,
        shape, dtype, trainable.

        With ``settings`` (a LoraConfig) as after injection; without, the model as it is. With
        ``dataset_id`` among the settings the model has the head that those rows need.
        """
        given, dataset_id = _apart(settings)
        lora = LoraConfig.parse(given) if given else None
        rows = tensor_table(self._profile(base_model, dataset_id), lora)
        return [row._asdict() for row in filtered(rows, text(name, "name"))]

    def _profile(self, base_model: str, dataset_id: str) -> ModelProfile:
        """The model as it is, or as it is trained on a data set, which must be there."""
        model, kept = text(base_model, "base_model"), text(dataset_id, "dataset_id")
        if kept:
            self.services.library.get(kept)
        return fit(self.services, model, kept).profile


def _apart(settings: Json | str) -> tuple[Json, str]:
    """A LoraConfig's values, and the data set named beside them.

    Programs that speak HTTP send every argument, so a promised endpoint gets no further ones.
    """
    given = dict(json_object(settings, "settings"))
    return given, given.pop("dataset_id", "")
