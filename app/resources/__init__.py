"""Read objects of a cluster on behalf of a person: get, events, logs."""
