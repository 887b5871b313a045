"""Where the people of a shift punch."""
