"""The way in of devices that are asked."""
