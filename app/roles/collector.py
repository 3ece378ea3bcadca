"""How the long-lived processes treat Python's cyclic garbage collector. Never switches it off."""

import gc


def spare_collector() -> None:
    """Keep it off what lives as long as the process, and let it run less often; call it once all is imported.

    A frame to a thousand viewers allocates a thousand futures at once, and a burst of events as many objects, which by
    Python's defaults starts collections that walk the whole application: a third of the cost of a frame (bench/push.py)
    and a tenth of that of an event (bench/ours.py).
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 50)
