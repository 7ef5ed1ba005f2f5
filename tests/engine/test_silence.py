"""Silence counts from the moment at which a word is owed."""

from __future__ import annotations

from tests.fakes.clock import HandClock

from vllm_mlx.engine.silence import Silence


def test_it_counts_from_the_first_command_however_many_follow() -> None:
    clock = HandClock()
    silence = Silence(clock)
    clock.advance(100)
    assert silence.seconds == 0
    for _ in range(3):
        silence.asked()
        clock.advance(10)
    assert silence.seconds == 30


def test_a_word_of_one_that_has_more_to_say_begins_it_anew() -> None:
    clock = HandClock()
    silence = Silence(clock)
    silence.asked()
    clock.advance(10)
    silence.heard(has_work=True)
    clock.advance(7)
    assert silence.seconds == 7


def test_nothing_is_owed_after_the_last_word() -> None:
    clock = HandClock()
    silence = Silence(clock)
    silence.asked()
    silence.heard(has_work=False)
    clock.advance(10)
    assert silence.seconds == 0
    silence.asked()
    clock.advance(3)
    assert silence.seconds == 3
