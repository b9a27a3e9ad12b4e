"""A checkpoint by the clock, and SIGTERM: one rank's wish is every rank's, at the same step."""

from __future__ import annotations

import os
import signal
import threading

import pytest

from train.collectives import Alone
from train.wishes import Wish, Wishes


class Clock:
    seconds = 100.0

    def __call__(self):
        return self.seconds


class Told(Alone):
    """Another rank wants `others`."""

    others = Wish.NOTHING

    def highest(self, value):
        return lambda: max(value, self.others)


def step(wishes):
    wishes.ask()
    return wishes.answer()


def test_the_clock_asks_for_a_checkpoint_until_one_is_saved():
    clock = Clock()
    wishes = Wishes(Alone(), 2, clock)
    assert step(wishes) is Wish.NOTHING
    clock.seconds += 120
    assert [step(wishes), step(wishes)] == [Wish.SAVE, Wish.SAVE]
    wishes.saved()
    assert step(wishes) is Wish.NOTHING
    clock.seconds += 119
    assert step(wishes) is Wish.NOTHING


def test_without_minutes_the_clock_asks_for_nothing():
    clock = Clock()
    wishes = Wishes(Alone(), None, clock)
    clock.seconds += 10**9
    assert step(wishes) is Wish.NOTHING


@pytest.mark.parametrize("others", Wish)
def test_the_highest_wish_of_any_rank_counts(others):
    together, clock = Told(), Clock()
    together.others = others
    wishes = Wishes(together, 1, clock)
    assert step(wishes) is others
    clock.seconds += 60
    assert step(wishes) is max(others, Wish.SAVE)


def test_sigterm_is_a_wish_to_stop_and_afterwards_what_it_was_before():
    before = signal.getsignal(signal.SIGTERM)
    wishes = Wishes(Alone(), None)
    with wishes.listening():
        assert step(wishes) is Wish.NOTHING
        os.kill(os.getpid(), signal.SIGTERM)
        assert step(wishes) is Wish.STOP
    assert signal.getsignal(signal.SIGTERM) is before


def test_a_question_asked_before_the_signal_is_answered_without_it():
    """All ranks must act at the same step: what was sent to the others is what counts."""
    wishes = Wishes(Alone(), None)
    with wishes.listening():
        wishes.ask()
        os.kill(os.getpid(), signal.SIGTERM)
        assert wishes.answer() is Wish.NOTHING
        assert step(wishes) is Wish.STOP


def test_outside_the_main_thread_signals_are_left_alone():
    before, seen = signal.getsignal(signal.SIGTERM), []

    def listen():
        with Wishes(Alone(), None).listening():
            seen.append(signal.getsignal(signal.SIGTERM))

    thread = threading.Thread(target=listen)
    thread.start()
    thread.join()
    assert seen == [before]
