"""The two ways to run the local stack: play once and sum up, or play and keep serving."""

from __future__ import annotations

import functools
import json
import signal
import sys
import time
from datetime import timedelta
from pathlib import Path

from rich.console import Console

from chalicelib.local.aws.calls import OF_THE_DEMO, calls_about
from chalicelib.local.aws.stack import LocalStack
from chalicelib.local.demo.demo import Demo
from chalicelib.local.demo.payload_folder import PayloadFolder
from chalicelib.local.demo.play_payloads import Played, play_payloads
from chalicelib.local.demo.summary import image_lines, summarize
from chalicelib.local.demo.terminal import console, progress_bars, show_alert, show_step, show_what_next

HURRY_SECONDS = 1.0
RESTORE_TAKES = timedelta(seconds=20)
PATIENCE_SECONDS = 60.0
LOOK_EVERY_SECONDS = 0.5


def run_once(source: Path | None, as_json: bool) -> bool:
    """Plays the demo or the folder and prints the summary; nothing but JSON goes to standard output.

    False: not everything was handled in time. Raises InputError, SettingsError, OSError (no port).
    """
    folder = PayloadFolder(source) if source else None
    with LocalStack(hurry=HURRY_SECONDS) as stack:
        played = _play(stack, folder, console(error=True))
        if as_json:
            for line in image_lines(stack, played.refs):
                sys.stdout.write(json.dumps(line) + "\n")
        summary = summarize(stack, played.refs, played.finished, folder)
    sys.stdout.write(json.dumps(summary, indent=None if as_json else 2) + "\n")
    return played.finished


def run(source: Path | None, port: int, aws_port: int) -> None:
    """Plays, then serves until interrupted or told to end. Raises as `run_once`."""
    folder, screen = PayloadFolder(source) if source else None, console()
    former = {ending: signal.signal(ending, signal.default_int_handler) for ending in (signal.SIGINT, signal.SIGTERM)}
    try:
        show = functools.partial(show_alert, screen)
        with LocalStack(aws_port, port, show=show, restore_takes=RESTORE_TAKES) as stack:
            played = _play(stack, folder, screen)
            stack.keep_working()
            show_what_next(screen, stack, calls_about(stack, played.refs) if folder else OF_THE_DEMO)
            while True:
                time.sleep(LOOK_EVERY_SECONDS)
                stack.catcher.show_news_of_sns()
    except KeyboardInterrupt:
        screen.print("\nStopped. Nothing was kept.")
    finally:
        for ending, handler in former.items():
            signal.signal(ending, handler)


def _play(stack: LocalStack, folder: PayloadFolder | None, screen: Console) -> Played:
    if folder is None:
        return _play_demo(stack, screen)
    with progress_bars(screen) as advance:
        return play_payloads(stack, folder, advance)


def _play_demo(stack: LocalStack, screen: Console) -> Played:
    demo = Demo(stack, lambda line: show_step(screen, line))
    demo.open()
    finished = stack.pump.drain(PATIENCE_SECONDS)
    stack.catcher.show_news_of_sns()
    demo.go_on()
    finished = stack.pump.drain(PATIENCE_SECONDS) and finished
    stack.catcher.show_news_of_sns()
    return Played(demo.refs, finished)
