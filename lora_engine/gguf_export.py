"""An adapter as a GGUF file for llama.cpp and Ollama, with a Modelfile."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gguf
from pydantic import BaseModel, ConfigDict
from torch import Tensor

from lora_engine import adapter as adapter_files
from lora_engine import catalog
from lora_engine.adapter import Adapter
from lora_engine.derived import check_free
from lora_engine.errors import AdapterError, ModelError
from lora_engine.folders import check_folder
from lora_engine.gguf_families import FAMILIES, Family
from lora_engine.inspection import meta_model, profile_model
from lora_engine.pairs import Pair, pairs_of
from lora_engine.profile import ModelProfile
from lora_engine.registry import VARIANTS

MODELFILE = """\
# An adapter made with LoRA Workbench on {base_model}.
# In this folder: ollama create my-model -f {name}
# FROM takes a model of Ollama's library, a GGUF file, or a folder with safetensors; it must be
# the model that the adapter was trained on.
FROM {source}
ADAPTER ./{adapter}
"""
INSTEAD = "Export a merged model instead."
SHARED = ("token_embd.weight", "output.weight")
"""llama.cpp's names for an embedding and a head."""


class GgufReport(BaseModel):
    """What was written."""

    model_config = ConfigDict(frozen=True)

    file: str
    modelfile: str
    architecture: str
    """llama.cpp's name of the model family."""
    tensors: int
    alpha: float
    """llama.cpp scales each pair by this over its rank."""
    mb: float
    """Size of the file, in MB of 10**6 bytes."""
    sentence: str


@dataclass(frozen=True)
class Layout:
    """The base model as llama.cpp lays it out."""

    family: Family
    profile: ModelProfile
    config: Any
    """The transformers config."""

    @classmethod
    def of(cls, base_model: str, home: Path) -> "Layout":
        """That of ``base_model``, from its config alone.

        Raises:
            WorkbenchError: no such model, or of a family that is not known to work.
        """
        model = meta_model(catalog.config_folder(base_model, home))
        name = type(model).__name__
        if name not in FAMILIES:
            known = sorted(name.partition("For")[0] for name in FAMILIES)
            raise ModelError(
                f"No GGUF adapter can be written for {base_model}, a model of class {name}; it "
                f"works for {', '.join(known)}. {INSTEAD}"
            )
        return cls(FAMILIES[name], profile_model(model, base_model), model.config)

    def tensor_name(self, path: str) -> str | None:
        """llama.cpp's name for the weight of a module, or None where it takes no adapter."""
        found = self.family.tensor_name(path, self.config.num_hidden_layers)
        if found in SHARED and self.config.tie_word_embeddings:
            return None  # llama.cpp has one tensor for both, and would apply it twice and stop
        return found

    def problem(self, path: str, pair: Pair) -> str | None:
        """Why the pair at ``path`` cannot be used, or None."""
        shape = next(
            ((g.out_features, g.in_features) for g in self.profile.groups if path in g.paths), None
        )
        if shape is None:
            return f"{path} is no layer of the model"
        if shape != (len(pair.b), pair.a.shape[1]):
            return f"{path} is {len(pair.b)}×{pair.a.shape[1]}, not {shape[0]}×{shape[1]}"
        if self.tensor_name(path) is None:
            return f"llama.cpp takes no adapter on {path}"
        return None


def export_gguf(path: Path, out: Path, *, home: Path, base_model: str | None = None) -> GgufReport:
    """Write the adapter at ``path`` as a GGUF file, with a Modelfile for Ollama beside it.

    ``out`` is a file that ends in .gguf, or a folder that gets ``adapter.gguf``. The file has
    what llama.cpp's loader reads: ``general.type`` adapter, ``adapter.type`` lora,
    ``adapter.lora.alpha``, and for each module ``<name>.lora_a`` (r × in) and ``<name>.lora_b``
    (out × r) in float32, with the rows of B in llama.cpp's order; for the embedding lora_a is
    turned (words × r). llama.cpp computes alpha / r · B·A; where modules are scaled in another
    way (rsLoRA, patterns of ranks and alphas), alpha and B are set so that this comes out the
    same. Only the base model's config is needed.

    Raises:
        WorkbenchError: the adapter or its base cannot be used, it learned more than such a file
            can hold (DoRA's magnitudes, biases, whole modules), or the file is there already.
    """
    file = out if out.suffix == ".gguf" else out / "adapter.gguf"
    modelfile = file.with_name("Modelfile")
    for new in (file, modelfile):
        check_free(new)
    adapter = adapter_files.read(path)
    pairs = _pairs(adapter)
    base_model = base_model or adapter.settings.base_model_name(path)
    layout = Layout.of(base_model, home)
    problems = [found for p, pair in pairs.items() if (found := layout.problem(p, pair))]
    if not problems:
        wanted = layout.profile.adapted(layout.profile.matching(adapter.lora))
        problems = [f"{target.path} has no pair" for target in wanted if target.path not in pairs]
    if problems:
        raise AdapterError(
            f"This adapter cannot be written for {base_model}: {'; '.join(problems)}. {INSTEAD}"
        )
    alpha = _alpha(adapter, pairs)
    tensors = _tensors(pairs, layout, alpha)
    file.parent.mkdir(parents=True, exist_ok=True)
    _write(file, layout.family.name, alpha, tensors, f"LoRA adapter for {Path(base_model).name}")
    text = MODELFILE.format(
        base_model=base_model,
        name=modelfile.name,
        source=_source(base_model, home),
        adapter=file.name,
    )
    modelfile.write_text(text, encoding="utf-8")
    return GgufReport(
        file=str(file),
        modelfile=str(modelfile),
        architecture=layout.family.name,
        tensors=len(tensors),
        alpha=alpha,
        mb=file.stat().st_size / 1e6,
        sentence=f"{len(pairs)} modules in {file.name}, for llama.cpp and Ollama.",
    )


def _pairs(adapter: Adapter) -> dict[str, Pair]:
    """The adapter's pairs; raises AdapterError where it is more than pairs."""
    if adapter.lora.variant != "plain":
        title = VARIANTS[adapter.lora.variant].title
        raise AdapterError(
            f"{title} learns more than pairs, which a GGUF adapter cannot hold. {INSTEAD}"
        )
    if adapter.lora.method != "lora":
        raise AdapterError(
            f"This run trained the weights themselves (method {adapter.lora.method}), which a "
            f"GGUF adapter cannot hold. {INSTEAD}"
        )
    pairs, others = pairs_of(adapter)
    if others:
        raise AdapterError(
            f"This adapter also changes {len(others)} other tensors (such as {next(iter(others))}),"
            f" which a GGUF adapter cannot hold. {INSTEAD}"
        )
    return pairs


def _alpha(adapter: Adapter, pairs: dict[str, Pair]) -> float:
    """The alpha that scales most of the pairs as they are: scaling · r."""
    alphas = [adapter.lora.scaling_of(path) * pair.r for path, pair in pairs.items()]
    return max(alphas, key=alphas.count)


def _tensors(pairs: dict[str, Pair], layout: Layout, alpha: float) -> dict[str, Tensor]:
    """The tensors of the file by name, out × in as in PyTorch (GGUF counts the other way)."""
    tensors = {}
    for path, pair in pairs.items():
        name = layout.tensor_name(path)
        # A pair has its scaling in b, and llama.cpp will scale it by alpha / r.
        a, b = pair.a, pair.b * (pair.r / alpha)
        order = layout.family.order(layout.config, path, len(b))
        if order is not None:
            b = b[order]
        tensors[f"{name}.lora_a"] = (a.T if pair.is_embedding else a).float().contiguous()
        tensors[f"{name}.lora_b"] = b.float().contiguous()
    return tensors


def _write(
    file: Path, architecture: str, alpha: float, tensors: dict[str, Tensor], name: str
) -> None:
    unfinished = file.with_name(f"{file.name}.part")
    writer = gguf.GGUFWriter(unfinished, architecture)
    writer.add_type(gguf.GGUFType.ADAPTER)
    writer.add_string(gguf.Keys.Adapter.TYPE, "lora")
    writer.add_float32(gguf.Keys.Adapter.LORA_ALPHA, alpha)
    writer.add_name(name)
    writer.add_quantization_version(gguf.GGML_QUANT_VERSION)
    for tensor_name, tensor in tensors.items():
        writer.add_tensor(tensor_name, tensor.numpy())
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    unfinished.replace(file)


def _source(base_model: str, home: Path) -> str:
    """What the Modelfile's FROM says: the base model's folder where it is whole."""
    folder = catalog.config_folder(base_model, home)
    try:
        check_folder(folder)
    except ModelError:
        return "./base.gguf"
    return str(folder.resolve())
