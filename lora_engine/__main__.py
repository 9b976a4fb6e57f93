"""The command line of the engine."""

import argparse
import logging
import sys
from collections.abc import Sequence

from lora_engine.commands import adapters, compare, export, inspect, predict, train
from lora_engine.commands.common import Parsers, Run
from lora_engine.errors import WorkbenchError
from lora_engine.lack_of_memory import is_out_of_memory

GROUPS = (train, inspect, compare, predict, export, adapters)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; the exit status is 0, or 1 with one sentence on stderr."""
    parser = argparse.ArgumentParser(prog="python -m lora_engine", description=__doc__)
    parsers = Parsers(parser)
    for group in GROUPS:
        group.add(parsers)
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.WARNING)
    run: Run = options.command
    try:
        run(options)
    except WorkbenchError as error:
        print(error, file=sys.stderr)  # noqa: T201
        return 1
    except OSError as error:  # a full disk, a folder that may not be written
        where = f"{error.filename}: " if error.filename else ""
        print(f"{where}{error.strerror or error}", file=sys.stderr)  # noqa: T201
        return 1
    except (MemoryError, RuntimeError) as error:
        if not is_out_of_memory(error):
            raise
        print("There is not enough memory for this.", file=sys.stderr)  # noqa: T201
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
