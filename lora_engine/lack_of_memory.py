"""When memory runs out: how errors and last words say it, and what to try next (no torch)."""

import re

from lora_engine.config import TrainConfig

_OUT_OF_MEMORY = re.compile(
    r"out of memory|OutOfMemory|can't allocate memory|cannot allocate memory|not enough memory"
    r"|std::bad_alloc|\bMemoryError\b|CUBLAS_STATUS_ALLOC_FAILED|CUDNN_STATUS_ALLOC_FAILED",
    re.IGNORECASE,
)


def out_of_memory(config: TrainConfig) -> str:
    """The sentence with the cheaper settings to try, made from the settings that were too dear."""
    *most, last = cheaper_settings(config)
    tries = f"{', '.join(most)} or {last}" if most else last
    return f"The machine ran out of memory: try {tries}."


def cheaper_settings(config: TrainConfig) -> list[str]:
    """Changes that need less memory, the most helpful one first; never empty."""
    tries = []
    if config.batch_size > 1:
        batch = config.batch_size
        half = next(size for size in range(batch // 2, 0, -1) if batch % size == 0)
        steps = batch // half * config.gradient_accumulation_steps
        tries.append(
            f"batch size {half} instead of {batch} "
            f"(with gradient accumulation {steps} it learns the same)"
        )
    if config.gradient_checkpointing != "on":
        tries.append("gradient checkpointing")
    if config.max_length > 64:
        tries.append(f"maximum length {config.max_length // 2} instead of {config.max_length}")
    if config.lora.r > 1 and config.lora.method in ("lora", "galore"):
        tries.append(f"rank r {config.lora.r // 2} instead of {config.lora.r}")
    modules = (config.lora.target_modules or ()) if config.lora.method == "lora" else ()
    if isinstance(modules, str):  # all-linear, or a regular expression
        tries.append("only query and value as target modules")
    elif len(modules) > 2:
        tries.append(f"fewer target modules than {len(modules)}")
    if config.quantization == "none" and not config.lora.needs_whole_base:
        tries.append("a base in 4 bits")
    return [*tries, "a smaller base model"]


def is_out_of_memory(error: BaseException) -> bool:
    """Whether memory ran out, on the processor or on a device; knows torch's errors by name."""
    names = {kind.__name__ for kind in type(error).__mro__}
    if names & {"MemoryError", "OutOfMemoryError"}:
        return True
    return isinstance(error, RuntimeError | OSError) and says_out_of_memory(str(error))


def says_out_of_memory(text: str) -> bool:
    """Whether a program's last words are about memory."""
    return bool(_OUT_OF_MEMORY.search(text))
