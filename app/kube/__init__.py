"""All speech with API servers and nothing else: typed errors, connections, discovery, the list and watch machine.

The only importer of `kubernetes_asyncio`. Knows no cluster registry, no store and no viewer.
"""
