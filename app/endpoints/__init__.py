"""The programs' door: the named endpoints, for ``gradio_client`` and anything that speaks HTTP."""

from collections.abc import Callable, Sequence
from typing import Any

import gradio as gr
from gradio.events import api

from app.endpoints.after import AfterEndpoints
from app.endpoints.answers import AnswerEndpoints
from app.endpoints.data import DataEndpoints
from app.endpoints.models import ModelEndpoints
from app.endpoints.runs import RunEndpoints
from app.guard import endpoint
from app.services import Services

Method = Callable[..., Any]
TOOLS: dict[str, Any] = {"concurrency_id": "tools", "concurrency_limit": 1}
"""Each may hold a whole model, so programs wait in line for them."""


class Endpoints(DataEndpoints, ModelEndpoints, RunEndpoints, AnswerEndpoints, AfterEndpoints):
    """Every endpoint under its name."""


def add_endpoints(services: Services) -> None:
    """Declare every endpoint inside the current ``gr.Blocks``; none of them is seen on the page."""
    doors = Endpoints(services)
    at_once: Sequence[Method] = (
        *(doors.add_sample_dataset, doors.list_datasets, doors.preview_dataset, doors.set_roles),
        *(doors.delete_dataset, doors.list_models, doors.count_parameters, doors.parameter_table),
        doors.estimate_run,
        *(doors.start_training, doors.continue_training, doors.job, doors.list_jobs),
        *(doors.job_progress, doors.job_log, doors.cancel_job, doors.resume_job, doors.delete_job),
        doors.compare_runs,
    )
    for method in at_once:
        api(endpoint(method), api_name=method.__name__, queue=False)
    api(endpoint(doors.compare), api_name="compare", concurrency_limit=4)
    tools: Sequence[Method] = (
        *(doors.rank_report, doors.shrink_adapter, doors.combine_adapters, doors.export_adapter),
    )
    for method in tools:
        api(endpoint(method), api_name=method.__name__, **TOOLS)
    with gr.Column(visible=False):
        _add_those_with_files(doors)


def _add_those_with_files(doors: Endpoints) -> None:
    """Files come and go through components, which let in only what was uploaded."""
    file = gr.File(label="file")
    name = gr.Textbox("", label="name")
    gr.Button().click(
        endpoint(doors.add_dataset), [file, name], gr.JSON(label="dataset"),
        api_name="add_dataset", concurrency_limit=2,
    )  # fmt: skip
    job_id = gr.JSON(label="job_id")  # a number field would round 2.6 to another run
    gr.Button().click(
        endpoint(doors.download_adapter), job_id, gr.File(label="adapter"),
        api_name="download_adapter",
    )  # fmt: skip
    dataset_id, options = gr.Textbox("", label="dataset_id"), gr.JSON(label="options")
    gr.Button().click(
        endpoint(doors.predict), [job_id, file, dataset_id, options], gr.File(label="answers"),
        api_name="predict", **TOOLS,
    )  # fmt: skip
    path, base_model = gr.Textbox("", label="path"), gr.Textbox("", label="base_model")
    quantization = gr.Textbox("", label="quantization")
    gr.Button().click(
        endpoint(doors.bring_adapter), [file, path, base_model, name, quantization],
        gr.JSON(label="run"), api_name="bring_adapter", **TOOLS,
    )  # fmt: skip
