"""Pages that change while they are looked at: patches of HTML over server-sent events."""
