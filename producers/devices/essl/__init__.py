"""eSSL's attendance software."""
