"""A simulated fleet: terminals that push punches, and the exact account of what must become of each."""
