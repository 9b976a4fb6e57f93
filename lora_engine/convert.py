"""Turn a GGUF file into a model folder with safetensors weights and a tokenizer.

Runs as a child: ``python -m lora_engine.convert SOURCE.gguf FOLDER``. Each line on stdout says
what it is doing; whatever the libraries have to say goes to stderr.
"""

import sys
from pathlib import Path
from typing import Any

STAGES = ("reading the weights", "reading the tokenizer", "saving")


def convert(source: Path, folder: Path) -> None:
    """Save the dequantised model and tokenizer of ``source`` in ``folder``, in float32.

    float32 holds the dequantised weights exactly, and is what other tools then load by default,
    so that they give the same answers.
    """
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer, logging

    logging.set_verbosity_error()
    logging.disable_progress_bar()
    _say(0)
    model: Any = AutoModelForCausalLM.from_pretrained(
        source.parent, gguf_file=source.name, dtype=torch.float32, trust_remote_code=False
    )
    # Dequantised by now; with these two left in place, saving is refused as "quantized with gguf".
    model.hf_quantizer = None
    del model.config.quantization_config
    vars(model.config).pop("_model_name_or_path", None)  # a training run's name, not the model's
    _say(1)
    tokenizer: Any = AutoTokenizer.from_pretrained(source.parent, gguf_file=source.name)
    tokenizer.model_max_length = model.config.max_position_embeddings
    _say(2)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def _say(stage: int) -> None:
    sys.stdout.write(f"{STAGES[stage]} ({stage + 1} of {len(STAGES)})\n")
    sys.stdout.flush()


if __name__ == "__main__":
    convert(Path(sys.argv[1]), Path(sys.argv[2]))
