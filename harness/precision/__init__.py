"""What few bits do to weights: quantizers as functions, and how much of a LoRA they leave."""
