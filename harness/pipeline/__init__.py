"""The reference Flex.2 pipeline: the system under test."""
