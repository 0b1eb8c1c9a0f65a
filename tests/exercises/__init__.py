"""Lines with gaps, and what is wrong in lines that somebody has filled."""
