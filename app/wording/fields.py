"""Texts of the Train tab's fields. The advice follows the LoRA paper and common practice."""

from lora_engine.registry import STARTS, SWITCHES

FIELDS: dict[str, tuple[str, str]] = {
    "lora.r": (
        "Rank r",
        "How many directions each adapted layer can learn. Start with 8; take 16 or more for hard "
        "or mixed tasks and many rows, 4 for a simple change of tone.",
    ),
    "lora.lora_alpha": (
        "Alpha α",
        "How strongly the adapter counts: its output is scaled by α / r. One to two times the "
        "rank is usual; lower it if answers overdo what was learned.",
    ),
    "lora.lora_dropout": (
        "Dropout",
        "Share of the adapter's input that is ignored at random while training. 0.05 to 0.1 "
        "keeps a small data set from being learned by heart; 0 is fine for large ones.",
    ),
    "lora.target_modules": (
        "Target modules",
        "The layers that get a trainable pair. Query and value give most of the effect for the "
        "fewest parameters; take all of them for harder tasks.",
    ),
    "lora.bias": (
        "Bias",
        "Whether the model's bias vectors are trained too. Leave it at none unless you know why.",
    ),
    "learning_rate": (
        "Learning rate",
        "How big each step is. Lower it if the loss jumps up or the answers turn to nonsense; "
        "raise it if hardly anything changes.",
    ),
    "epochs": (
        "Epochs",
        "How often each row is seen. Fewer if the validation loss starts to rise, more if it is "
        "still falling at the end.",
    ),
    "max_samples": (
        "Rows at most",
        "Takes so many rows of the data set, drawn at random, to learn from and to validate with: "
        "for a first try of a large one. Empty means all.",
    ),
    "max_steps": (
        "Stop after (updates)",
        "Ends the run after this many updates, whatever the epochs say. Empty means no limit.",
    ),
    "batch_size": (
        "Batch size",
        "Rows per pass. Larger is steadier and needs more memory; halve it when memory runs out.",
    ),
    "gradient_accumulation_steps": (
        "Gradient accumulation",
        "Batches that are added up before one update: the effect of a larger batch size without "
        "its memory.",
    ),
    "warmup_ratio": (
        "Warm-up",
        "Share of the run in which the learning rate rises from zero. 0.03 to 0.1 makes the "
        "start gentler.",
    ),
    "schedule": (
        "Schedule",
        "How the learning rate falls after the warm-up. Linear is a safe choice; cosine stays "
        "high longer, constant suits very short runs.",
    ),
    "weight_decay": (
        "Weight decay",
        "Pulls the adapter's weights towards zero. Usually 0; try 0.01 when a small data set is "
        "learned by heart.",
    ),
    "max_grad_norm": (
        "Gradient clipping",
        "The longest step direction that is allowed; 1 tames outliers, 0 turns clipping off.",
    ),
    "max_length": (
        "Maximum length (tokens)",
        "Longer rows are cut here. Shorter is faster and needs less memory; check that your "
        "answers still fit.",
    ),
    "validation_share": (
        "Validation share",
        "Rows that are held back to measure what was really learned. 0.1 is good; 0 trains on "
        "everything and measures nothing.",
    ),
    "seed": (
        "Seed",
        "The start of all random choices. The same seed gives the same run again; change it to "
        "see how much was luck.",
    ),
    "precision": (
        "Precision",
        "Number format of the frozen model. Auto takes the fast one where the machine has it; "
        "fp32 is the most exact and the slowest.",
    ),
    "fast": (
        "Fast ways",
        "Takes faster ways to the same result where model and machine allow it. Switch it off "
        "only to rule them out when a run behaves strangely.",
    ),
    "sample_answers": (
        "Questions to look at",
        "So many held-out questions are answered before the training and after it, side by side "
        "in the result.",
    ),
    "load_best_model_at_end": (
        "Keep the best",
        "The adapter is kept as it was when it did best on the held-out rows, not as it is at the "
        "end: for small data, which are soon learned by heart.",
    ),
    "early_stopping_patience": (
        "Stop early after",
        "Ends the run once so many measurements (about ten a run) brought nothing better; 3 is "
        "usual. Empty means never.",
    ),
    "metric_for_best_model": (
        "Best by",
        "What “Keep the best” and “Stop early after” go by: the loss, which tells small changes, "
        "accuracy, or macro F1, to which rare labels count as much as common ones.",
    ),
    "test_dataset": (
        "Test data",
        "A kept data set with the same columns that is never trained on; the finished model is "
        "measured on it. None means the validation rows are the measure.",
    ),
    "class_weights": (
        "Weigh rare labels up",
        "Makes rare labels count as much as common ones. Switch it on when one label has most of "
        "the rows and the others matter as much.",
    ),
    "label_smoothing": (
        "Label smoothing",
        "Share of the right answer that is spread over all others, so that the model is never "
        "quite certain. Usually 0; 0.1 helps when some labels or answers are wrong.",
    ),
    "neftune_noise_alpha": (
        "NEFTune noise",
        "Noise on the word vectors while training, which often makes chat answers better; 5 is "
        "usual. Empty means none. On a CPU rows are padded with it, which is slower.",
    ),
    "gradient_checkpointing": (
        "Gradient checkpointing",
        "Computes layers twice instead of keeping what they made: less memory, about a third "
        "slower. Only if needed means: where the memory that is free would not do.",
    ),
    "lora.method": (
        "Method",
        "LoRA is right nearly always. Freeze trains the last layers themselves, for a style or a "
        "narrow task. Full trains everything, for a new language or very many rows, and needs "
        "much memory; GaLore is the same with less.",
    ),
    "lora.freeze_trainable_layers": (
        "Layers to train",
        "How many of the last layers are trained, as they are. 2 is a start; more learns more and "
        "needs more memory.",
    ),
    "lora.galore_update_gap": (
        "GaLore: updates between choices",
        "After so many updates the directions of the gradient are chosen anew; 200 is usual.",
    ),
    "lora.galore_scale": (
        "GaLore: scale",
        "How strongly the reduced updates count; 0.25 is usual.",
    ),
    "quantization": (
        "Quantised base (QLoRA)",
        "Keeps the frozen layers in 4 or 8 bits: a large model fits into a third or a half of the "
        "memory (word vectors stay as they are, which counts in small models), and learns more "
        "slowly. Needs the package bitsandbytes.",
    ),
    "optim": (
        "Optimiser",
        "8-bit AdamW needs a quarter of AdamW's memory, which counts where whole layers are "
        "trained; on a CPU it is slow. Needs the package bitsandbytes.",
    ),
    "start_from": (
        "Go on from an adapter",
        "A finished run, or the path of an adapter's folder or zip made with the same settings, "
        "to train further. None means to begin anew.",
    ),
    "lora.init_lora_weights": (
        "Start of A and B",
        "How the pairs begin. Kaiming is the paper's and right nearly always; Gaussian is other "
        "tools' habit, to repeat their runs; orthogonal spreads high ranks more evenly. PiSSA "
        "begins with each weight's main directions and often learns faster; LoftQ makes up for "
        "what a quantised base lost.",
    ),
    "lora.use_rslora": (
        "rsLoRA",
        "Scales by α / √r instead of α / r, which keeps high ranks (64 and more) learning.",
    ),
    **{f"lora.{name}": (variant.title, variant.helps) for name, variant in SWITCHES.items()},
    "lora.loraplus_lr_ratio": (
        "LoRA+ ratio",
        "B learns so many times as fast as A; 16 is usual and often faster. Empty means the same "
        "rate for both.",
    ),
    "lora.modules_to_save": (
        "Modules trained whole",
        "Names of modules, with commas between, that are trained and saved whole beside the "
        "pairs, such as the embedding after new words were added.",
    ),
    "lora.layers_to_transform": (
        "Only these layers",
        "Numbers of the layers that get pairs, counted from 0; empty means all. Upper layers "
        "alone train faster and change less.",
    ),
    "lora.target_pattern": (
        "Target modules by pattern",
        "A regular expression for whole module paths, or all-linear; it replaces the boxes above.",
    ),
    "lora.rank_pattern": (
        "Ranks by module",
        "Other ranks for some modules: the end of a path = rank. For modules that have more to "
        "learn than others.",
    ),
    "lora.alpha_pattern": (
        "Alphas by module",
        "Other alphas for some modules: the end of a path = alpha.",
    ),
}
SECTIONS = {
    "length": ("How long", "What one update sees, and how many updates there are."),
    "learning": ("How it learns", "The size and the manner of each step."),
    "measuring": ("How it is measured", "Rows that are never trained on say what was learned."),
    "machine": ("Speed and memory", "The same result in less memory, or in less time."),
    "method": ("Method", "Ways beyond plain LoRA; leave them unless you know what you need."),
    "modules": ("Finer choice of modules", "What is trained in which layer; usually left empty."),
}
CHOICES = {
    "lora.method=lora": "LoRA",
    "lora.method=freeze": "Freeze",
    "lora.method=full": "Full",
    "lora.method=galore": "GaLore",
    "metric_for_best_model=f1": "macro F1",
    "optim=adamw": "AdamW",
    "optim=adamw_8bit": "8-bit AdamW",
    "quantization=none": "none",
    "quantization=nf4": "4 bits (NF4, QLoRA)",
    "quantization=int8": "8 bits",
    **{
        f"lora.init_lora_weights={setting}": title
        for start in STARTS.values()
        for setting, title in start.choices.items()
    },
    "lora.bias=all": "all",
    "lora.bias=lora_only": "of adapted modules",
    "gradient_checkpointing=auto": "only if needed",
    "gradient_checkpointing=on": "always",
    "gradient_checkpointing=off": "never",
}
"""Labels of choices, by ``setting=value``; others are their own label."""
PLACEHOLDERS = {
    "lora.modules_to_save": "embed_tokens, lm_head",
    "lora.layers_to_transform": "20-29",
    "lora.target_pattern": r".*\.(q|v)_proj",
    "lora.rank_pattern": "v_proj = 16, o_proj = 4",
    "lora.alpha_pattern": "v_proj = 32",
}
