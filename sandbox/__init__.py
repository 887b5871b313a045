"""What a laptop lacks: brokers, an ERPNext stand-in, simulated terminals."""
