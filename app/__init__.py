"""KubeNexus: one live window on every Kubernetes cluster.

Each package below is one service of the product; ARCHITECTURE.md says what belongs where and
`pyproject.toml` holds the contracts that keep it so. Nothing is re-exported here.
"""
