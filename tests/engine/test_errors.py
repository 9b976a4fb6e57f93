"""What is shown of errors that libraries raise."""

from lora_engine.errors import first_line


def test_an_error_is_told_in_a_line() -> None:
    assert first_line(ValueError("Unknown class.\nOne of A, B, C.")) == "Unknown class."
    assert first_line(RuntimeError("Errors in loading:\n\tsize mismatch for w\n\tand b")) == (
        "Errors in loading: size mismatch for w"
    )
    assert first_line(KeyError()) == "KeyError"
    assert len(first_line(ValueError("x" * 999))) == 200
