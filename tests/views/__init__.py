"""Views of lists: the table, its query language, frames, desks and routes."""
