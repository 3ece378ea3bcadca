"""The demo fleet: simulated Kubernetes API servers over TCP, with controllers that keep their workloads alive.

A root package of its own, in the sense of kwok and envtest. Knows nothing of `app` or `ui`, and they may
not import it: the product cannot tell a simulated cluster from a real one.
"""
