"""Connections to PostgreSQL and Redis, and envelope encryption. The only importer of `redis`; knows no feature."""
