"""Accepted results of a case: what the next run is compared with, who accepted them and why."""
