"""Weakly supervised object localization: one trainer for every published method. Uses torch, never Ray."""
