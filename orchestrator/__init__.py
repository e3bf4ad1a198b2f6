"""Searches over `wsol` training runs, on one machine or a cluster. Knows Ray, Optuna, YAML studies and run folders."""
