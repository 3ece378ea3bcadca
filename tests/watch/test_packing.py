"""Packing with trained dictionaries: lossless over generations, trained again when objects have changed."""

import random
import sys

from app.watch.packing import MEASURED, SAMPLE_BYTES, SAMPLES, Packer, Packers, train


def objects(seed: int, count: int, words: int = 300) -> list[bytes]:
    """Objects of one make: the same words in another order with a number of their own."""
    rng = random.Random(seed)
    book = [f"{rng.getrandbits(64):x}" for _ in range(40)]
    return [" ".join([*rng.choices(book, k=words), str(rng.getrandbits(64))]).encode() for _ in range(count)]


def trained(packer: Packer, samples: list[bytes]) -> None:
    for sample in samples:
        packer.pack(sample)
    dictionary = train(packer.take_samples())
    assert dictionary is not None
    packer.adopt(dictionary)


def test_frames_of_every_generation_stay_readable() -> None:
    packer, frames = Packer(), []
    for seed in range(3):
        made = objects(seed, SAMPLES)
        frames += [(each, packer.pack(each), packer.generation) for each in made[:5]]
        trained(packer, made)
        frames += [(each, packer.pack(each), packer.generation) for each in made[:5]]
        packer._wants = True

    assert {generation for _, _, generation in frames} == {0, 1, 2, 3}
    assert all(packer.unpack(frame, generation) == each for each, frame, generation in frames)


def test_a_dictionary_halves_what_plain_compression_leaves() -> None:
    plain, packer = Packer(), Packer()
    made = objects(1, 2 * SAMPLES)
    trained(packer, made[:SAMPLES])
    rest = made[SAMPLES:]

    assert 2 * sum(len(packer.pack(each)) for each in rest) < sum(len(plain.pack(each)) for each in rest) * 1.5


def test_training_is_asked_for_once_and_again_when_objects_have_changed() -> None:
    packer = Packer()
    made = objects(1, SAMPLES + 3 * MEASURED)
    for each in made[:SAMPLES]:
        assert not packer.ready()
        packer.pack(each)
    assert packer.ready()
    trained(packer, [])
    for each in made[SAMPLES:]:
        packer.pack(each)
    assert not packer.ready()
    for each in objects(2, 3 * MEASURED + SAMPLES, words=40):
        packer.pack(each)
    assert packer.ready()


def test_samples_are_bounded_in_bytes() -> None:
    packer = Packer()
    rng = random.Random(1)
    for _ in range(20):
        packer.pack(rng.randbytes(SAMPLE_BYTES // 8))

    assert sum(map(len, packer.take_samples())) <= SAMPLE_BYTES
    assert not packer.ready()


def test_what_cannot_be_learnt_from_gives_no_dictionary() -> None:
    assert train([]) is None
    assert train([b"a"] * 3) is None


def test_packers_are_shared_by_kind() -> None:
    packers = Packers()

    assert packers.of("pods") is packers.of("pods")
    assert packers.of("pods") is not packers.of("nodes")


def test_an_entry_holds_no_more_memory_than_its_bytes() -> None:
    """zstandard's results are over-allocated by kilobytes; what is kept must be a copy."""
    from app.kube.events import Event
    from app.watch.schemas import Row
    from app.watch.store import Kind, Store

    store = Store(Kind("things", lambda word, _now: Row("u", "", word, 0, 1, ())), Packer())
    store.begin()
    store.listed([Event("apply", "u", "1", "word", b"x" * 9000)], 0.0)
    store.complete()

    assert all(sys.getsizeof(entry) == sys.getsizeof(b"") + len(entry) for entry in store._entries.values())
