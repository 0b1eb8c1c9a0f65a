"""What is run by hand or by make: the benchmark and the mutants, with what they write and read."""
