"""The exact fast path: compiled blocks and CUDA graphs, used only where they give eager's bits."""
