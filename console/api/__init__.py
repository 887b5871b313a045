"""The HTTP API of the console: what its pages show and do, for programs with a token."""
