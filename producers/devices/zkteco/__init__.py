"""ZKTeco terminals, their files, and the servers that they send to."""
