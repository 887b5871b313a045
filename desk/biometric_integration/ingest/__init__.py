"""Fast ingest: many Employee Checkins in one request, with an outcome for each."""
