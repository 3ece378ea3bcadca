"""Prove who is calling: passwords and server-side sessions. Authorization is `app.authz`'s."""
