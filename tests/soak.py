#!/usr/bin/env python3
"""Random keys for ten minutes: the explorer must stay alive, and its memory flat.

Usage: tests/soak.py [--program FILE] [--minutes N] [--seed N] [EXPLORER'S OPTIONS…]

Prints the resident memory as it goes and, at the end, its medians in the third and in the last fifth of the time.
Exits with 1 where the program ended by itself, printed a panic, or grew by more than a tenth plus 16 MiB between those.
State and configuration are those of a new folder; models are those of the user.
"""

import argparse
import fcntl
import os
import pty
import random
import select
import signal
import statistics
import struct
import sys
import tempfile
import termios
import time
from pathlib import Path

# Every printable key but q, which quits; keys of the terminal; a paste; the mouse.
KEYS = [chr(c) for c in range(33, 127) if chr(c) not in "q"]
SPECIAL = (
    ["\r", "\t", "\x7f", " ", "\x1b[A", "\x1b[B", "\x1b[C", "\x1b[D", "\x1b[H", "\x1b[F", "\x1b[5~", "\x1b[6~"]
    + ["\x1bOP", "\x1bOQ", "\x1bOS", "\x1b[15~", "\x1b[17~", "\x1b[18~", "\x1b[19~", "\x1b[20~", "\x1b[21~"]
    + ["\x10", "\x15", "\x17", "\x12", "\x1b[200~Why is the sky blue?\x1b[201~", "\x1b[<0;40;12M", "\x1b[<0;40;12m"]
)


def resident(pid):
    fields = Path(f"/proc/{pid}/statm").read_text().split()
    return int(fields[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20


def main():
    here = Path(__file__).resolve().parent
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--program", default=here.parent / "target/release/drllm-tui")
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--seed", type=int, default=1)
    args, rest = parser.parse_known_args()
    rng = random.Random(args.seed)
    place = tempfile.TemporaryDirectory(prefix="drllm-soak-")
    program = Path(args.program).resolve()
    pid, terminal = pty.fork()
    if pid == 0:
        os.chdir(place.name)
        os.environ.update(
            DRLLM_STATE_DIR=f"{place.name}/state", DRLLM_CONFIG_DIR=f"{place.name}/config", TERM="xterm-256color"
        )
        os.execv(program, [program, *rest])
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 120, 0, 0))
    seconds, begin, told, sent, tail = args.minutes * 60, time.monotonic(), 0.0, 0, b""
    samples, ended = [], None
    while (passed := time.monotonic() - begin) < seconds:
        ready, _, _ = select.select([terminal], [], [], 0.02)
        if ready:
            try:
                tail = (tail + os.read(terminal, 1 << 16))[-4000:]
            except OSError:
                pass
        done, status = os.waitpid(pid, os.WNOHANG)
        if done:
            ended = status
            break
        if passed > 3 and rng.random() < 0.6:
            # A long burst of Escape and Enter leads out of a dialog now and then, and runs the prompt.
            kind = rng.random()
            if kind < 0.08:
                keys = "\x1b"
            elif kind < 0.11:
                size = struct.pack("HHHH", rng.randint(8, 70), rng.randint(30, 220), 0, 0)
                fcntl.ioctl(terminal, termios.TIOCSWINSZ, size)
                os.kill(pid, signal.SIGWINCH)
                keys = ""
            else:
                keys = rng.choice(SPECIAL if kind < 0.4 else KEYS)
            os.write(terminal, keys.encode())
            sent += 1
        if passed - told >= 10:
            told = passed
            samples.append((passed, resident(pid)))
            print(f"{passed:6.0f} s  {sent:6} keys  {samples[-1][1]:7.1f} MiB", flush=True)
    if ended is not None:
        print(f"it ended by itself after {passed:.0f} s and {sent} keys with status {ended}: {tail!r}")
        sys.exit(1)
    os.kill(pid, signal.SIGTERM)
    end = time.monotonic() + 20
    while not os.waitpid(pid, os.WNOHANG)[0]:
        if time.monotonic() > end:
            sys.exit("it does not end by SIGTERM")
        if select.select([terminal], [], [], 0.1)[0]:
            try:
                tail = (tail + os.read(terminal, 1 << 16))[-4000:]
            except OSError:
                pass
    fifth = seconds / 5
    middle = lambda n: statistics.median([m for t, m in samples if n * fifth <= t < (n + 1) * fifth + 10])
    early, late = middle(2), middle(4)
    panicked = b"panicked" in tail
    print(f"{args.minutes:g} minutes, {sent} keys, seed {args.seed}: {early:.1f} MiB early, {late:.1f} MiB late"
          + (", PANICKED" if panicked else ""))
    sys.exit(panicked or late > early * 1.1 + 16)


main()
