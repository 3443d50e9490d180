"""The contestants' side of a benchmark: loads once, then runs a round for each line on standard input (see ../contestant.ts)."""

import json
import os
import sys
import time

THREADS = int(os.environ.get("JACKDAW_BENCH_THREADS", "2"))


def say(message):
    print("bench " + json.dumps(message), flush=True)


def compete(load):
    """`load` answers with rounds by measure, functions of a number of seconds; the versions of what they run on; and how many numbers are trained."""
    try:
        rounds, versions, *parameters = load()
    except ImportError as error:
        say({"missing": f"no Python module named {error.name}"})
        return
    say({"ready": True, "versions": versions, "parameters": parameters[0] if parameters else None})
    for line in sys.stdin:
        request = json.loads(line)
        try:
            say({"value": rounds[request["measure"]](request["seconds"])})
        except Exception as error:
            say({"error": f"{type(error).__name__}: {error}"})


def per_second(seconds, amount, work):
    """Repeats `work` for at least that many seconds and at least twice; answers with amounts done per second."""
    start = time.perf_counter()
    done = 0
    while True:
        work()
        done += 1
        elapsed = time.perf_counter() - start
        if elapsed >= seconds and done >= 2:
            return done * amount / elapsed
