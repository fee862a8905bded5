"""What an image says of the settings it was made with, as each tool writes it; no model is loaded."""
