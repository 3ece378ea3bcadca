"""One module per family of kinds: slim structs of what a table needs, its columns, and the row of an object.

Belongs here: pure functions from a decoded object to a `Row`. Does not belong: decoding, keeping, publishing.
Words and numbers are those that `kubectl get` prints (pkg/printers/internalversion of Kubernetes 1.36), so that
a person sees the same thing in both places; the recorded tables of a real API server are the tests.
"""
