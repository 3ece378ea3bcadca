"""One module a noun: what its pages show and take."""
