"""Training a tiny Flex.2-shaped checkpoint on composed emoji scenes: data, models, training."""
