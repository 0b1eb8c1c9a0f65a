"""Slips are named, and nothing is named that is not so."""
