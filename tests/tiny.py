"""Tiny real models with random weights, and tokenizers made from a few lines."""

from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from torch import nn
from transformers import (
    BertConfig,
    BertForSequenceClassification,
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedModel,
    PreTrainedTokenizerFast,
    T5Config,
    T5ForConditionalGeneration,
)
from transformers.modeling_outputs import CausalLMOutput

VOCABULARY = 320
WORDS = ("the sea light is calm burns keeper asks what who", "a boat comes home now 灯 塔")
CHATML = (
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\n' + "
    "message['content'] + '<|im_end|>' + '\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)


def llama(seed: int = 0, **changes: Any) -> PreTrainedModel:
    """Two layers, 64 wide, grouped-query attention, tied head: 2 query heads a key head."""
    settings: dict[str, Any] = {
        "vocab_size": VOCABULARY,
        "hidden_size": 64,
        "intermediate_size": 96,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "max_position_embeddings": 512,
        "tie_word_embeddings": True,
        "bos_token_id": 0,
        "eos_token_id": 1,
    }
    torch.manual_seed(seed)
    return LlamaForCausalLM(LlamaConfig(**settings | changes)).eval()


def gpt2(seed: int = 0) -> PreTrainedModel:
    """Two layers of GPT-2, whose linear layers are Conv1D and have biases."""
    torch.manual_seed(seed)
    config = GPT2Config(
        vocab_size=VOCABULARY, n_positions=512, n_embd=64, n_layer=2, n_head=4,
        bos_token_id=0, eos_token_id=1, attn_pdrop=0.0, resid_pdrop=0.0, embd_pdrop=0.0,
    )  # fmt: skip
    return GPT2LMHeadModel(config).eval()


def untied(seed: int = 0) -> PreTrainedModel:
    """The Llama with a head of its own."""
    return llama(seed, tie_word_embeddings=False)


def resized(seed: int = 0) -> PreTrainedModel:
    """An untied one with eight more words in its vocabulary, as for tokens of one's own."""
    model = untied(seed)
    torch.manual_seed(seed)
    model.resize_token_embeddings(VOCABULARY + 8, mean_resizing=False)
    return model


def bert(seed: int = 0, **changes: Any) -> PreTrainedModel:
    """A two-layer BERT classifier of two labels, without dropout."""
    torch.manual_seed(seed)
    config = BertConfig(
        vocab_size=VOCABULARY, hidden_size=64, num_hidden_layers=2, num_attention_heads=4,
        intermediate_size=96, max_position_embeddings=128, hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0, **changes,
    )  # fmt: skip
    return BertForSequenceClassification(config).eval()


def t5(seed: int = 0) -> PreTrainedModel:
    """A T5 of two layers a side."""
    torch.manual_seed(seed)
    config = T5Config(
        vocab_size=VOCABULARY, d_model=64, d_kv=16, d_ff=96, num_layers=2, num_heads=4,
        dropout_rate=0.0, decoder_start_token_id=0, pad_token_id=0, eos_token_id=1,
    )  # fmt: skip
    return T5ForConditionalGeneration(config).eval()


class Convolutional(PreTrainedModel):
    """An embedding, a Conv1d with bias, a Conv2d and a linear head; there for LoRA's sake."""

    config_class = LlamaConfig

    def __init__(self, config: LlamaConfig) -> None:
        super().__init__(config)
        width = config.hidden_size
        self.embed = nn.Embedding(config.vocab_size, width)
        self.first = nn.Conv1d(width, width, 3, padding=1)
        self.second = nn.Conv2d(1, 4, (3, 5), padding=(1, 2), bias=False)
        self.last = nn.Linear(4 * width, config.vocab_size)

    def forward(self, input_ids: torch.Tensor, labels: torch.Tensor, **_: Any) -> Any:
        x = self.first(self.embed(input_ids).transpose(1, 2)).transpose(1, 2)
        x = self.second(x[:, None]).permute(0, 2, 3, 1).flatten(2)
        logits = self.last(x)
        loss = nn.functional.cross_entropy(logits.flatten(0, 1), labels.flatten())
        return CausalLMOutput(loss=loss, logits=logits)

    def prepare_inputs_for_generation(self, *_: Any) -> None:
        """The reference asks every causal model for this."""

    def get_input_embeddings(self) -> nn.Module:
        return self.embed

    def get_output_embeddings(self) -> None:
        return None


def convolutional(seed: int = 0) -> PreTrainedModel:
    """See ``Convolutional``."""
    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=VOCABULARY, hidden_size=16, num_attention_heads=4, tie_word_embeddings=False
    )
    return Convolutional(config).eval()


def tokenizer(chat: bool = True) -> PreTrainedTokenizerFast:
    """A byte-level BPE of VOCABULARY tokens with ChatML's control tokens."""
    made = Tokenizer(models.BPE())
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        special_tokens=["<|im_start|>", "<|im_end|>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    made.train_from_iterator(["the light burns", "user assistant system what is the sea"], trainer)
    wrapped = PreTrainedTokenizerFast(
        tokenizer_object=made, eos_token="<|im_end|>", pad_token="<|im_end|>"
    )
    if chat:
        wrapped.chat_template = CHATML
    return wrapped


def pair_tokenizer() -> PreTrainedTokenizerFast:
    """Words of a few lines and single letters, with BERT's marks around one text or two."""
    words = [word for line in WORDS for word in line.split()]
    letters = "abcdefghijklmnopqrstuvwxyz0123456789.,?[]"
    pieces = [*letters, *(f"##{letter}" for letter in letters)]
    vocabulary = ["[PAD]", "[CLS]", "[SEP]", "[UNK]", *words, *pieces]
    ids = {word: place for place, word in enumerate(dict.fromkeys(vocabulary))}
    made = Tokenizer(models.WordPiece(ids, unk_token="[UNK]"))
    made.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    made.decoder = decoders.WordPiece()
    made.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B:1 [SEP]:1",
        special_tokens=[("[CLS]", 1), ("[SEP]", 2)],
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=made, unk_token="[UNK]", pad_token="[PAD]", cls_token="[CLS]",
        sep_token="[SEP]", model_input_names=["input_ids", "token_type_ids", "attention_mask"],
    )  # fmt: skip


def save_model_folder(
    folder: Path,
    model: PreTrainedModel | None = None,
    words: PreTrainedTokenizerFast | None = None,
) -> Path:
    """A complete local model folder, as a person would point to."""
    (model or llama()).save_pretrained(folder)
    (words or tokenizer()).save_pretrained(folder)
    return folder
