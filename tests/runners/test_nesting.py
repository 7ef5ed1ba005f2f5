"""Caches in the nesting a model wants."""

from mlx_lm.models.cache import CacheList, KVCache

from vllm_mlx.runners.nesting import flat, nested, nesting_of


def test_what_is_laid_flat_can_be_nested_again() -> None:
    own = [KVCache(), CacheList(KVCache(), KVCache()), CacheList(KVCache()), KVCache()]
    assert nesting_of(own) == (0, 2, 1, 0)
    again = nested(flat(own), nesting_of(own))
    assert again[0] is own[0]
    assert again[3] is own[3]
    assert [again[1][0], again[1][1], again[2][0]] == flat(own[1:3])


def test_a_group_of_caches_is_true_for_models_that_ask_whether_there_is_one() -> None:
    assert nested([KVCache()], (1,))[0]
