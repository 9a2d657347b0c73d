"""Task environments of other packages; each file imports its package only when used."""
