"""Weakly supervised object localization: one trainer for every published method. Knows torch, never Ray."""
