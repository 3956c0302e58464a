"""Pieces of work shared out among processes that end with the one that started them."""

from __future__ import annotations

import contextlib
import multiprocessing
import signal
import sys
from collections.abc import Callable, Generator, Sequence
from multiprocessing.connection import Connection, wait
from typing import Any

import torch

from mtl_toolkit import RunError, UserError


def share_out(work: Callable[[int], None], pieces: Sequence[int], workers: int) -> Generator[int, None, None]:
    """Do pieces of work, each in one of some processes; yield each that is finished.

    Leaving the loop (close the iterator) ends the processes at once, in the middle of a piece.

    Args:
        work: does one piece; where processes are not forked it is pickled.
        pieces: what to call it with, in the order in which they are taken up.
        workers: how many processes; 0 works in the calling one.

    Raises:
        UserError: that the work raised.
        RunError: if a process ended unexpectedly.
    """
    if not workers:
        for piece in pieces:
            work(piece)
            yield piece
        return
    context: Any = multiprocessing.get_context("fork" if sys.platform == "linux" else "spawn")
    turn = context.Value("q", 0)
    processes: dict[Any, Any] = {}  # by the end of the pipe on which they report
    try:
        for _ in range(min(workers, len(pieces))):
            reader, writer = context.Pipe(duplex=False)
            process = context.Process(target=_work, args=(work, pieces, turn, writer), daemon=True)
            process.start()
            writer.close()
            processes[reader] = process
        while processes:
            ready: Any = wait(list(processes))
            for reader in ready:
                try:
                    report = reader.recv()
                except EOFError:
                    reader.close()
                    _check_ended(processes.pop(reader))
                    continue
                if isinstance(report, UserError):
                    raise report
                yield report
    finally:
        for process in processes.values():
            process.terminate()
        for process in processes.values():
            process.join()


def _work(work: Callable[[int], None], pieces: Sequence[int], turn: Any, reports: Connection) -> None:
    """Take up one piece after the other, until there are none, or nobody waits for them."""
    # Ctrl-C reaches the whole process group; the process that waits decides what to do about it.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    torch.set_num_threads(1)
    parent = multiprocessing.parent_process()
    with contextlib.suppress(BrokenPipeError):
        while parent is not None and parent.is_alive():
            with turn.get_lock():
                place = turn.value
                turn.value += 1
            if place >= len(pieces):
                return
            try:
                work(pieces[place])
            except UserError as error:
                reports.send(error)
                return
            reports.send(pieces[place])


def _check_ended(process: Any) -> None:
    process.join()
    if process.exitcode < 0:
        raise RunError(
            f"a worker process was ended by signal {-process.exitcode}; the system may be short of memory"
        )
    if process.exitcode:
        raise RunError("a worker process failed, see above; the rest is stopped")
