"""Our training loop against transformers' Trainer with peft (and Liger) on a GPU.

Models of known shapes with random weights, every linear layer adapted, in bf16 and on an NF4 base.
There is no bar: the table says tokens a second, the card's peak memory, and which share of the
card's measured matrix rate each side makes use of. Without a card it runs on the CPU, which tells
nothing but that it runs.
"""

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks import children
from benchmarks.report import Bar, markdown, median, parser, within, write
from benchmarks.training import DATA, EVERY_LINEAR, Work, first_rows, measure

LLAMA_1B = {
    "model_type": "llama",
    "vocab_size": 128_256,
    "hidden_size": 2048,
    "intermediate_size": 8192,
    "num_hidden_layers": 16,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
    "head_dim": 64,
    "max_position_embeddings": 131_072,
    "rope_parameters": {"rope_type": "default", "rope_theta": 500_000.0},
    "rms_norm_eps": 1e-5,
    "tie_word_embeddings": True,
}
"""Llama-3.2-1B, with plain positions: its stretched ones cost the same."""
QWEN_7B = {
    "model_type": "qwen2",
    "vocab_size": 152_064,
    "hidden_size": 3584,
    "intermediate_size": 18_944,
    "num_hidden_layers": 28,
    "num_attention_heads": 28,
    "num_key_value_heads": 4,
    "max_position_embeddings": 32_768,
    "rope_parameters": {"rope_type": "default", "rope_theta": 1_000_000.0},
    "rms_norm_eps": 1e-6,
    "tie_word_embeddings": False,
}
"""Qwen2.5-7B."""
SHAPES: dict[str, tuple[str, dict[str, Any]]] = {
    "1b": ("Llama-3.2-1B", LLAMA_1B),
    "7b": ("Qwen2.5-7B", QWEN_7B),
}
PRECISIONS = {
    "none": ("bf16-weights", "bf16-weights+liger", "bf16-autocast", "bf16-autocast+liger"),
    "nf4": ("nf4", "nf4+liger"),
}
"""What the reference is tried with; what cannot run on the machine is left out and named."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the chosen rows, print the table and write the JSON file."""
    options = parser("gpu", str(__doc__).splitlines()[0])
    options.add_argument("--data", type=Path, default=DATA, help="folder with the real data")
    options.add_argument("--words", default="", help="folder of a tokenizer; the starter's")
    options.add_argument("--shapes", nargs="+", default=list(SHAPES))
    options.add_argument("--bases", nargs="+", default=list(PRECISIONS))
    options.add_argument("--rows", type=int, default=64, help="a multiple of 8, the batch")
    options.add_argument("--updates", type=int, default=9)
    chosen = options.parse_args(arguments)
    bars: list[Bar] = []
    details: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as temporary:
        rows = first_rows(chosen.data / "alpaca_en_demo.json", chosen.rows, Path(temporary))
        for key in chosen.shapes:
            title, shape = SHAPES[key]
            folder = Path(temporary) / key
            model = {"folder": str(folder / "model"), "shape": shape, "words": chosen.words}
            made = children.run("random_model", model)
            for base in chosen.bases:
                name = f"{title} shape, {'bf16' if base == 'none' else base.upper()}"
                work = _work(name, model["folder"], rows, base, chosen.updates)
                found = measure(work, folder / base, chosen.runs)
                details[f"{key} {base}"] = found | made
                bars += table(name, found, made)
                print(markdown(bars), flush=True)
                write("gpu", bars, details, chosen.results)


def table(name: str, found: dict[str, Any], made: dict[str, Any]) -> list[Bar]:
    """Speed, memory, the share of the matrix rate, and how far the losses are apart.

    A token costs four operations a weight of a product: two forward, two for its input's gradient
    (a frozen weight has none); the head counts where something is learned. Attention and the
    adapters are left aside, so that both sides are measured against the same work.
    """
    pairs = found["pairs"]
    operations = 4 * (made["layers"] * found["tokens"] + made["head"] * found["learned"])

    def middle(side: str, key: str) -> float:
        return median([pair[side][key] for pair in pairs])

    def both(key: str) -> tuple[float, float]:
        return middle("ours", key), middle("reference", key)

    shares = [operations / seconds / 1e12 / made["tflops"] for seconds in both("seconds")]
    gaps = [
        abs(ours - theirs) / theirs
        for pair in pairs
        for ours, theirs in zip(pair["ours"]["losses"], pair["reference"]["losses"], strict=True)
    ]
    gap = max(gaps)
    card = f"{made['card']}, {made['tflops']:.3g} TFLOP/s in bf16"
    best = found["reference_precision"]
    return [
        Bar(name, "tokens/s", *both("tokens_per_second"), bar="–", reached=True, note=best),
        Bar(name, "MB peak", *both("peak_mb"), bar="–", reached=True),
        Bar(name, "of the matrix rate", shares[0], shares[1], "–", reached=True, note=card),
        within(name, "of the loss", gap, 0.01, "largest gap"),
    ]


def _work(name: str, model: str, rows: Path, base: str, updates: int) -> Work:
    config = {
        "base_model": model,
        "dataset": str(rows),
        "validation_share": 0,
        "batch_size": 8,
        "max_length": 512,
        "epochs": updates,
        "max_steps": updates,
        "warmup_ratio": 0,
        "precision": "bf16",
        "quantization": base,
        "lora": {"r": 16, "lora_alpha": 32, "lora_dropout": 0.0, "target_modules": EVERY_LINEAR},
    }
    return Work(name, config, 0, 0, None, precisions=PRECISIONS[base])


if __name__ == "__main__":
    main()
