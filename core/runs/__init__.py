"""Runs: started, supervised, watched and explained from files alone."""
