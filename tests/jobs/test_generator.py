"""The generation child: one request after another, its deaths, its sleep and its end."""

import os
import signal
import subprocess
import sys
import threading

import psutil
import pytest

from jobs.generation import GenerationError, Generator, Limits, Withdrawn
from jobs.serve_child import LOG_BYTES
from tests.jobs.queue_helpers import HERE, settings, unix_only, until

COMMAND = (sys.executable, str(HERE / "fake_serve.py"))


@pytest.fixture
def make(tmp_path):
    made = []

    def make(**limits):
        made.append(Generator(tmp_path, command=COMMAND, limits=Limits(watch=0.02, **limits)))
        return made[-1]

    yield make
    for generator in made:
        generator.close()


def ask(generator, what="hello", asker=""):
    rows = [{"adapter": None, "strength": 1.0, "messages": [{"role": "user", "content": what}]}]
    return generator.answer("tiny", rows, {"max_new_tokens": 4}, asker=asker)


def reply(generator, what="hello"):
    """The child's number, how many answers it had given, and what was asked."""
    text = [*ask(generator, what)][-1]["texts"][0]
    pid, given, asked = text.split(" ", 2)
    return int(pid), int(given), asked


def is_gone(pid):
    return not psutil.pid_exists(pid)


def test_an_answer_streams_and_ends(make):
    events = [*ask(make(), "grüß 你好\n<b>")]
    assert [event["event"] for event in events] == ["status", "text", "done"]
    assert events[1]["text"] == "héllo"
    assert events[2]["texts"][0].endswith(" grüß 你好\n<b>")
    assert events[2]["divergence"] == 0.5


def test_the_child_stays_for_the_next_request(make):
    generator = make()
    first = reply(generator)
    assert reply(generator) == (first[0], 1, "hello")


def test_noise_on_stdout_goes_to_the_log(make, tmp_path):
    generator = make()
    assert reply(generator, "chatter")[2] == "chatter"
    assert "Loading weights: 100%" in (tmp_path / "logs" / "generation.log").read_text()


def test_requests_of_several_threads_are_answered_one_after_another(make):
    generator, replies = make(), []
    threads = [
        threading.Thread(target=lambda n=n: replies.append(reply(generator, f"question {n}")))
        for n in range(6)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(given for _, given, _ in replies) == list(range(6))
    assert sorted(asked for _, _, asked in replies) == [f"question {n}" for n in range(6)]


def test_stop_ends_the_answer_early(make):
    generator = make()
    events = ask(generator, "long", "me")
    next(events)
    generator.stop("me")
    assert [*events][-1]["stopped"] is True
    assert reply(generator)[2] == "hello"


def test_stop_ends_the_askers_own_answer_only(make):
    generator = make()
    events = ask(generator, "long", "me")
    next(events)
    generator.stop("somebody else")
    generator.stop("")
    for _ in range(60):
        assert next(events)["event"] == "text"
    events.close()


def test_what_waits_for_its_turn_can_be_taken_back(make):
    generator, said = make(), []
    events = ask(generator, "long", "me")
    next(events)

    def wait():
        with pytest.raises(Withdrawn, match="before its turn"):
            [*ask(generator, "hello", "you")]
        said.append("taken back")

    waiting = threading.Thread(target=wait)
    waiting.start()
    until(lambda: len(generator._requests) == 2)
    generator.stop("you")
    waiting.join()
    assert said == ["taken back"]
    assert next(events)["event"] == "text", "the other goes on"
    events.close()
    assert reply(generator)[2] == "hello"


def test_stop_without_a_request_does_nothing(make):
    generator = make()
    generator.stop("me")
    pid = reply(generator)[0]
    generator.stop("me")
    assert reply(generator)[0] == pid


def test_an_abandoned_answer_does_not_hold_up_the_next(make):
    generator = make()
    events = ask(generator, "long")
    next(events)
    events.close()
    assert reply(generator)[2] == "hello"


def test_an_error_is_the_childs_sentence_and_the_child_lives(make):
    generator = make()
    pid = reply(generator)[0]
    with pytest.raises(GenerationError, match=r"^That adapter is not there\.$"):
        [*ask(generator, "error")]
    assert reply(generator)[0] == pid


def test_a_dead_child_is_told_and_replaced(make, tmp_path):
    generator = make()
    pid = reply(generator)[0]
    with pytest.raises(GenerationError, match=r"unexpectedly \(exit code 7\): ask again"):
        [*ask(generator, "die")]
    assert is_gone(pid), "no zombie is left"
    assert "last words" in (tmp_path / "logs" / "generation.log").read_text()
    assert reply(generator)[0] != pid


def test_a_child_that_ran_out_of_memory_says_what_to_do(make):
    with pytest.raises(GenerationError, match="ran out of memory while it answered: wait until"):
        [*ask(make(), "out of memory")]


@unix_only
def test_a_child_killed_while_it_sleeps_is_replaced_unnoticed(make):
    generator = make()
    pid = reply(generator)[0]
    os.kill(pid, signal.SIGKILL)
    until(lambda: is_gone(pid))
    assert reply(generator)[0] != pid


def test_a_silent_child_is_ended(make):
    generator = make(silence=0.5)
    with pytest.raises(GenerationError, match="silent for too long"):
        [*ask(generator, "hang")]
    assert reply(generator)[2] == "hello"


def test_a_child_that_cannot_be_started_is_told(tmp_path):
    generator = Generator(tmp_path, command=("no-such-program",))
    with pytest.raises(GenerationError, match="could not be started"):
        [*ask(generator)]
    generator.close()


def test_an_idle_child_gives_its_memory_back(make):
    generator = make(idle=0.2, idle_while_training=0.1)
    pid = reply(generator)[0]
    until(lambda: is_gone(pid))
    assert reply(generator)[0] != pid


def test_a_child_at_work_is_not_idle(make):
    generator = make(idle=0.0, idle_while_training=0.0)
    events = ask(generator, "long")
    for _ in range(60):  # at 2 ms each, several looks of the watcher
        assert next(events)["event"] == "text"
    events.close()


def test_training_needs_the_memory_sooner(store):
    generator = Generator(
        store.home, command=COMMAND, limits=Limits(watch=0.02, idle_while_training=0.1)
    )
    pid = reply(generator)[0]
    assert reply(generator)[0] == pid
    store.enqueue(settings())
    store.claim("worker", "cpu")
    until(lambda: is_gone(pid))
    generator.close()


def test_close_ends_the_child_and_a_later_request_starts_another(make):
    generator = make()
    pid = reply(generator)[0]
    generator.close()
    assert is_gone(pid)
    assert reply(generator)[0] != pid


def test_closing_in_the_middle_of_an_answer_ends_it(make):
    generator = make()
    events = ask(generator, "long")
    next(events)
    generator.close()
    assert [*events][-1]["stopped"] is True


def test_the_log_stays_small(make, tmp_path):
    generator = make()
    reply(generator, "flood")
    generator.close()
    sizes = [path.stat().st_size for path in (tmp_path / "logs").iterdir()]
    assert len(sizes) == 2
    assert max(sizes) <= LOG_BYTES


@pytest.mark.parametrize("end", ["pass", "import os; os.kill(os.getpid(), 9)"])
@unix_only
def test_no_child_outlives_the_page(tmp_path, end):
    program = (
        "import sys; from pathlib import Path; from jobs.generation import Generator\n"
        "generator = Generator(Path(sys.argv[1]), command=sys.argv[2:])\n"
        "rows = [{'messages': [{'content': 'x'}]}]\n"
        "sys.stdout.write([*generator.answer('m', rows, {})][-1]['texts'][0])\n"
        f"sys.stdout.flush(); {end}"
    )
    said = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path), *COMMAND], capture_output=True, timeout=60
    )
    assert said.stderr == b""
    pid = int(said.stdout.split()[0])
    until(lambda: is_gone(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE)
