"""Systems under test other than our own pipeline, behind the same seam (``schema.render.Renderer``)."""
