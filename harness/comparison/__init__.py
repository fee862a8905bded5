"""An image that another tool made, against the preview that it was meant to be."""
