"""Two-player polynomial games: the paper's analytical tool (sections 2.3, 3 and 4.1). NumPy only."""
