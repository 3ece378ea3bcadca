"""What one viewer sees: a sorted, filtered, rights-cut window over the mirrored rows of any number of clusters.

The core (query, window, search) is pure; `replica` keeps one copy of each stream per web process.
"""
