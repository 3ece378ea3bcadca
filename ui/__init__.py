"""Pages: snapshot to HTML, publication to fragment. Never reads a table, a cluster or Redis itself."""
