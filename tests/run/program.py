"""``fastlhp`` for tests of what happens in the midst of a run: shards and chunks are as small as they get, and a run
stands still half-way, for as long as a file is there.

The file's path is in the variable FASTLHP_TEST_HOLD. While it exists, threads come to a stop when two shards are
written, and each worker process in its second chunk; a worker says so in a file beside it. Workers import this file
too, as the main program of their parent or as a plugin of Dask's.
"""

import functools
import importlib
import os
import threading
import time
from pathlib import Path

chunks = importlib.import_module("fastlhp.run.chunks")
store = importlib.import_module("fastlhp.run.store")

HOLD = Path(os.environ.get("FASTLHP_TEST_HOLD", os.devnull + "/none"))

# Dask loads its plugins twice.
simulate_chunk = getattr(chunks.simulate_chunk, "__wrapped__", chunks.simulate_chunk)
write = getattr(store.Store.write, "__wrapped__", store.Store.write)
n_chunks = n_parts = 0


def wait_while(condition) -> None:
    while condition() and HOLD.exists():
        time.sleep(0.01)


@functools.wraps(simulate_chunk)
def simulate_chunk_or_wait(*arguments):
    global n_chunks
    n_chunks += 1
    if n_chunks == 2 and HOLD.exists():
        HOLD.with_name(f"{HOLD.name}-{os.getpid()}").touch()
        wait_while(lambda: True)
    return simulate_chunk(*arguments)


@functools.wraps(write)
def write_or_wait(self, part) -> None:
    global n_parts
    # What workers send is written by the main thread, which is to notice if they are lost.
    if threading.current_thread() is not threading.main_thread():
        wait_while(lambda: n_parts > 1 or self.n_shards < n_parts)
        n_parts += 1
    write(self, part)


def make_small() -> None:
    """By work and not by time, so that it does not matter how fast the machine is."""
    store.FLUSH_S = 0.05
    store._SHARD_BYTES = 32 * 1024
    store._PENDING_BYTES = 4 * store._SHARD_BYTES
    chunks.SHORTEST_S = chunks.LONGEST_S = 1e-6


make_small()
chunks.simulate_chunk = simulate_chunk_or_wait
store.Store.write = write_or_wait

if __name__ == "__main__":
    from fastlhp.cli.main import main

    main()
