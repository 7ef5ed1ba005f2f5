"""Randomness for ids: every byte once, on any thread, and not again in a forked process."""

from __future__ import annotations

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from itertools import count

import pytest
from tests.limits import LIMIT_S

from vllm_mlx.core.chance import Chance, fresh_bits, fresh_hex

pytestmark = pytest.mark.requirement(38)

FORKS = """
import os
from vllm_mlx.core.chance import fresh_hex
fresh_hex()  # a block is there, and most of it unused
reader, writer = os.pipe()
child = os.fork()
if child == 0:
    os.write(writer, fresh_hex().encode())
    os._exit(0)
os.waitpid(child, 0)
print(fresh_hex(), os.read(reader, 64).decode())
"""


class Counted:
    """Stands for the system: 32-bit numbers in order, so that none comes twice."""

    def __init__(self) -> None:
        self._numbers = count()

    def __call__(self, size: int) -> bytes:
        return b"".join(next(self._numbers).to_bytes(4, "little") for _ in range(-(-size // 4)))[:size]


def test_no_bytes_are_handed_out_twice_whatever_the_sizes() -> None:
    chance = Chance(Counted())
    taken = [chance.take(size) for size in [4, 16, 4000, 16, 80, 8192, 4, 4096, 16] * 20]
    assert [len(piece) for piece in taken] == [4, 16, 4000, 16, 80, 8192, 4, 4096, 16] * 20
    numbers = [piece[i : i + 4] for piece in taken for i in range(0, len(piece), 4)]
    assert len(set(numbers)) == len(numbers)


def test_threads_share_nothing() -> None:
    chance = Chance(Counted())
    with ThreadPoolExecutor(8) as pool:
        parts = list(pool.map(lambda _: [chance.take(16) for _ in range(2000)], range(8)))
    taken = [piece for part in parts for piece in part]
    assert len(set(taken)) == len(taken) == 16_000
    assert all(len(piece) == 16 for piece in taken)


def test_a_forked_process_has_its_own() -> None:
    done = subprocess.run(
        [sys.executable, "-c", FORKS], capture_output=True, text=True, timeout=LIMIT_S, check=True
    )
    ours, theirs = done.stdout.split()
    assert len(ours) == len(theirs) == 32
    assert ours != theirs


@pytest.mark.parametrize("digits", [1, 7, 16, 24, 32])
def test_ids_have_as_many_digits_as_asked_for(digits: int) -> None:
    ids = [fresh_hex(digits) for _ in range(200)]
    assert {len(one) for one in ids} == {digits}
    assert set("".join(ids)) == set("0123456789abcdef")


def test_an_empty_id_is_empty() -> None:
    assert fresh_hex(0) == ""


@pytest.mark.parametrize("bits", [1, 8, 63])
def test_numbers_fill_their_bits_and_no_more(bits: int) -> None:
    numbers = [fresh_bits(bits) for _ in range(300)]
    assert all(0 <= number < 2**bits for number in numbers)
    for place in range(bits):
        assert {number >> place & 1 for number in numbers} == {0, 1}
