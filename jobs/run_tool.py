"""The child of a tool: one command of the engine, which ends with the page.

``python -m jobs.run_tool ARGUMENTS`` is ``python -m lora_engine ARGUMENTS``, but the end of stdin
means that the page is dead. Without this the command would go on alone, with a whole model in
memory, and might write to a folder that the next page writes to as well. A line on stdin is what
Ctrl-C is in a terminal: commands that can end with what they have do so.
"""

import sys

from jobs import processes
from lora_engine.__main__ import main

if __name__ == "__main__":
    processes.hear_interrupts()
    processes.listen_to_parent(processes.interrupt)
    sys.exit(main())
