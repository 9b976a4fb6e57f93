"""What programs send, where no client would let it through."""

import pytest

from app.endpoints.arguments import json_object, text
from lora_engine.errors import SettingsError


def test_half_a_character_is_one_sentence() -> None:
    assert text("灯塔", "prompt") == "灯塔"
    with pytest.raises(SettingsError, match="prompt must be text, but has half a character in it"):
        text("sea \ud83d", "prompt")
    assert json_object('{"system": "\\ud83d\\ude00"}', "options") == {"system": "\U0001f600"}
    for said in ('{"system": "\\ud83d"}', {"history": [{"content": "\udc00"}]}):
        with pytest.raises(SettingsError, match="The options have half a character in them"):
            json_object(said, "options")
