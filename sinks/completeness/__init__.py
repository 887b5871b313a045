"""Up to when each shift is complete, and which deliveries came later."""
