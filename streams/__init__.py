"""The Faust application: raw events in, check-ins and every other outcome out."""
