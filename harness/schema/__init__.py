"""The types that rooms hand to each other: cases, render requests, result rows, and what a model fixes."""
