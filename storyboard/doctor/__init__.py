"""`storyboard doctor`: every setting against the real thing, without spending money and without changing anything."""
