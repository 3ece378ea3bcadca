"""Register, validate, encrypt, reach and health-check clusters; one connection for each."""
