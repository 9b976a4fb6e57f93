"""Whether an adapter fits is found out without the weights of its base."""

from pathlib import Path
from typing import Any

import pytest

from lora_engine.errors import AdapterError
from lora_engine.fits import check_fit
from tests import tiny
from tests.engine.adapters import make_peft


@pytest.mark.parametrize(
    "settings",
    [{}, {"target_modules": ["embed_tokens", "q_proj"]}, {"modules_to_save": ["lm_head"]}],
    ids=["plain", "embedding", "saved head"],
)
@pytest.mark.filterwarnings("ignore:Setting `save_embedding_layers`")
def test_an_adapter_of_the_reference_fits_its_base(
    settings: dict[str, Any], tmp_path: Path
) -> None:
    base = tiny.save_model_folder(tmp_path / "base", tiny.untied())
    path = make_peft(tmp_path / "theirs", tiny.untied, **settings)
    found = check_fit(path, str(base), tmp_path)
    assert found.sentence.startswith(f"The adapter fits {base}")
    other = tiny.save_model_folder(tmp_path / "other", tiny.llama(hidden_size=128))
    with pytest.raises(AdapterError, match="does not fit this model"):
        check_fit(path, str(other), tmp_path)
