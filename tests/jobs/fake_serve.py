"""A generation child without a model: script HOME. What it does is in the first row's last turn.

Each answer says which process gave it and how many answers it had given before.
"""

import json
import os
import queue
import sys
import threading
import time

requests: "queue.Queue[dict | None]" = queue.Queue()
stopped_before = 0


def listen():
    global stopped_before
    for line in sys.stdin:
        message = json.loads(line)
        if message["op"] == "stop":
            stopped_before = message["id"]
        else:
            requests.put(message)
    stopped_before = sys.maxsize
    requests.put(None)


def tell(number, event, **values):
    sys.stdout.write(json.dumps({"id": number, "event": event, **values}) + "\n")
    sys.stdout.flush()


def answer(number, request, given):
    what = request["rows"][0]["messages"][-1]["content"]
    done = {"divergence": 0.5, "tokens_per_second": 9.0, "stopped": False, "cut": []}
    match what:
        case "die":
            sys.stderr.write("last words\n")
            sys.stderr.flush()
            os._exit(7)
        case "out of memory":
            sys.stderr.write("torch.OutOfMemoryError: tried to allocate\n")
            sys.stderr.flush()
            os._exit(1)
        case "hang":
            time.sleep(600)
        case "error":
            return tell(number, "error", message="That adapter is not there.")
        case "chatter":
            sys.stdout.write("Loading weights: 100%\n[1, 2]\n")
        case "flood":
            sys.stderr.write("x" * 999 + "\n")
            sys.stderr.write(("y" * 999 + "\n") * 2500)
            sys.stderr.flush()
        case "long":
            for words in range(1, 100_000):
                if number < stopped_before:
                    return tell(number, "done", texts=["w" * words], **done | {"stopped": True})
                tell(number, "text", row=0, text="w" * min(words, 9))
                time.sleep(0.002)
    tell(number, "status", message="Loading the model")
    tell(number, "text", row=0, text="héllo")
    return tell(number, "done", texts=[f"{os.getpid()} {given} {what}"], **done)


if __name__ == "__main__":
    sys.stdin.reconfigure(encoding="utf-8")
    sys.stdout.reconfigure(encoding="utf-8")
    threading.Thread(target=listen, daemon=True).start()
    given = 0
    while (request := requests.get()) is not None:
        answer(request["id"], request, given)
        given += 1
