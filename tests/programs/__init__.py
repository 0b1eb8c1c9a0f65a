"""Nodes of programs, and the tables that have a row for each."""
