"""The ground floor: the words that every stage uses. Imports no stage; data teams may import it too."""
