"""What adapters of several vendors have in common. No adapter stands here."""
