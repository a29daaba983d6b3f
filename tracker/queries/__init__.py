"""Reading, by noun. Nothing here changes anything."""
