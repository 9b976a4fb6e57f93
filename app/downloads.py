"""The addresses besides Gradio's own: what a run made, under names that tell runs apart."""

import re
from pathlib import Path

from starlette.requests import Request
from starlette.responses import FileResponse, PlainTextResponse, Response
from starlette.routing import Route

from app import file_answers
from app.services import Services
from jobs.job import Job
from lora_engine.errors import WorkbenchError


def zip_name(job: Job) -> str:
    """``house-style-7.zip``."""
    return f"{plain_name(job)}.zip"


def plain_name(job: Job) -> str:
    """``house-style-7``: letters of any script and digits only, so that it is safe."""
    words = re.sub(r"[^\w]+", "-", job.name).strip("-_").lower()[:60]
    return f"{words or 'adapter'}-{job.id}"


def answers_name(job: Job, path: Path) -> str:
    """``house-style-7-answers.csv``."""
    return f"{plain_name(job)}-answers{path.suffix}"


def zip_route(services: Services) -> Route:
    """``GET /adapters/<job id>.zip``; nothing else of the data folder is served."""

    def send(request: Request) -> Response:
        try:
            job = services.store.get(request.path_params["job_id"])
        except WorkbenchError as error:
            return PlainTextResponse(str(error), status_code=404)
        path = services.store.adapter_zip(job.id)
        if path is None:
            return PlainTextResponse(f"Run {job.id} has no adapter yet.", status_code=404)
        return FileResponse(path, media_type="application/zip", filename=zip_name(job))

    return Route("/adapters/{job_id:int}.zip", send, methods=["GET", "HEAD"])


def gguf_route(services: Services) -> Route:
    """``GET /adapters/<job id>.gguf.zip``, once the export was made."""

    def send(request: Request) -> Response:
        job_id = request.path_params["job_id"]
        path = services.store.job_dir(job_id) / "gguf.zip"
        if not path.is_file():
            return PlainTextResponse(f"Run {job_id} was not exported yet.", status_code=404)
        return FileResponse(path, media_type="application/zip", filename=f"gguf-{job_id}.zip")

    return Route("/adapters/{job_id:int}.gguf.zip", send, methods=["GET", "HEAD"])


def answers_route(services: Services) -> Route:
    """``GET /adapters/<job id>.answers``: the last file that the run's adapter answered."""

    def send(request: Request) -> Response:
        try:
            job = services.store.get(request.path_params["job_id"])
        except WorkbenchError as error:
            return PlainTextResponse(str(error), status_code=404)
        made = file_answers.latest(services, job.id)
        if made is None:
            return PlainTextResponse(f"Run {job.id} has answered no file yet.", status_code=404)
        name = answers_name(job, made[0])
        return FileResponse(made[0], media_type="application/octet-stream", filename=name)

    return Route("/adapters/{job_id:int}.answers", send, methods=["GET", "HEAD"])
