"""What is given as an expression is read as it is meant, or refused."""
