"""Who may do what, where: identity, permissions, roles, and the one function for what an identity may see."""
