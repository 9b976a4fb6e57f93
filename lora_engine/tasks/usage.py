"""How an adapter is used in other tools, a Markdown file beside each task."""

from pathlib import Path

from lora_engine.adapter_config import CHANGED

PAIRS = """With PEFT, from this folder unpacked as `adapter/`:

{code}

The files are in PEFT's format (`adapter_config.json`, `adapter_model.safetensors`), which
vLLM, transformers and other tools that take a LoRA adapter read as well."""
WHOLE = """`{file}` holds the weights of the base that were trained, under their own
names, and no LoRA adapter: tools that take one cannot read it. With transformers, from this folder
unpacked as `adapter/`:

{code}

For other tools make a whole model of it:
`python -m lora_engine export --format merged --adapter adapter/ --out model/`."""


def usage_of(name: str, *, whole: bool, **parts: object) -> str:
    """The text of ``NAME.md``, with ``parts`` in the places that it names.

    ``whole``: weights of the base were trained themselves, which PEFT does not load.
    """
    written = Path(__file__).with_name(f"{name}.md").read_text(encoding="utf-8").rstrip("\n")
    if whole:
        load = f'base.load_state_dict(load_file("adapter/{CHANGED}"), strict=False)'
        how = {
            "imported": "from safetensors.torch import load_file",
            "put_on": f"{load}\nmodel = base",
        }
        return WHOLE.format(file=CHANGED, code=written.format(**parts, **how))
    how = {
        "imported": "from peft import PeftModel",
        "put_on": 'model = PeftModel.from_pretrained(base, "adapter/")',
    }
    return PAIRS.format(code=written.format(**parts, **how))
