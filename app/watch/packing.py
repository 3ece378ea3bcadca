"""Whole objects in a few hundred bytes: zstd with a dictionary trained per kind. Pure.

Objects of one kind repeat each other, so a dictionary of 64 KiB shrinks an 8 kB pod to 200-500 bytes, losslessly,
managedFields and all; plain zstd needs 2,400. One `Packer` a kind serves all clusters of a process: a dictionary with
its match tables costs some hundred kB, too much for each of a thousand watches.
"""

from collections.abc import Sequence
from typing import Final

import zstandard

LEVEL: Final = 3  # measured: smaller than level 1 by a sixth and no slower with a dictionary
DICTIONARY_BYTES: Final = 65_536  # smaller ones lose more than 10 %
SEGMENT_BYTES: Final = 2_048  # of samples, taken over whole; see `train`
MATCH_BYTES: Final = 8  # that make two segments alike
SAMPLES: Final = 256  # more samples gain nothing and cost training time (15 ms for these)
SAMPLE_BYTES: Final = 4 * 2**20  # bound of what is held for training
WORSE: Final = 1.6  # trained again when objects shrink so much less than just after the training
MEASURED: Final = 512  # objects that a judgement of the ratio rests on
GENERATIONS: Final = 255  # a byte in each entry; dictionaries are kept, entries may still need them
MOST_BYTES: Final = 64 * 2**20  # no object is larger: the line that brought it would have been refused


class Packer:
    """Compresses the objects of one kind. Frames name their generation, so old ones stay readable."""

    def __init__(self) -> None:
        self.generation = 0
        self._compressor = zstandard.ZstdCompressor(level=LEVEL, write_content_size=True)
        self._decompressors = {0: zstandard.ZstdDecompressor()}
        self._samples: list[bytes] = []
        self._sample_bytes = 0
        self._wants = True  # samples
        self._in = self._out = self._count = 0
        self._ratio: float | None = None  # just after the training

    def pack(self, content: bytes) -> bytes:
        """One frame; its generation is `self.generation`."""
        if self._wants:
            self._sample(content)
        frame = self._compressor.compress(content)
        self._measure(len(content), len(frame))
        return frame

    def unpack(self, frame: bytes, generation: int) -> bytes:
        return self._decompressors[generation].decompress(frame, max_output_size=MOST_BYTES)

    def ready(self) -> bool:
        """Whether enough samples are there: `train` (in a thread), then `adopt`."""
        return self._wants and (len(self._samples) >= SAMPLES or self._sample_bytes >= SAMPLE_BYTES)

    def take_samples(self) -> list[bytes]:
        """The samples, once; `ready` is False until the next training is wanted."""
        samples, self._samples, self._sample_bytes, self._wants = self._samples, [], 0, False
        return samples

    def adopt(self, dictionary: bytes) -> None:
        """Pack with this dictionary from now on. Older frames stay readable."""
        self.generation += 1
        trained = zstandard.ZstdCompressionDict(dictionary, dict_type=zstandard.DICT_TYPE_FULLDICT)
        trained.precompute_compress(level=LEVEL)
        self._compressor = zstandard.ZstdCompressor(dict_data=trained, level=LEVEL, write_content_size=True)
        self._decompressors[self.generation] = zstandard.ZstdDecompressor(dict_data=trained)
        self._in = self._out = self._count = 0
        self._ratio = None

    def _sample(self, content: bytes) -> None:
        if len(self._samples) < SAMPLES and self._sample_bytes + len(content) <= SAMPLE_BYTES:
            self._samples.append(content)
            self._sample_bytes += len(content)
        elif self._sample_bytes + len(content) > SAMPLE_BYTES:
            self._sample_bytes = SAMPLE_BYTES

    def _measure(self, size: int, packed: int) -> None:
        self._in += size
        self._out += packed
        self._count += 1
        if self._count < MEASURED:
            return
        ratio = self._out / max(self._in, 1)
        if self._ratio is None:
            self._ratio = ratio
        elif 0 < self.generation < GENERATIONS and ratio > self._ratio * WORSE:
            self._wants, self._ratio = True, ratio
        self._in = self._out = self._count = 0


def train(samples: Sequence[bytes]) -> bytes | None:
    """A dictionary for objects like these, None when they are too few or too alike to learn from.

    Long segments suit objects that are alike from end to end: on recorded pods they pack into 238 B, and into 629 B
    by the parameters that zstd finds when it is left to search, which also takes four times as long. 10-20 ms of CPU
    outside the interpreter lock: call it in a thread.
    """
    try:
        trained = zstandard.train_dictionary(
            DICTIONARY_BYTES, list(samples), k=SEGMENT_BYTES, d=MATCH_BYTES, level=LEVEL
        )
        return trained.as_bytes()
    except zstandard.ZstdError:
        return None


class Packers:
    """The packers of one process, by resource key."""

    def __init__(self) -> None:
        self._packers: dict[str, Packer] = {}

    def of(self, key: str) -> Packer:
        return self._packers.setdefault(key, Packer())
