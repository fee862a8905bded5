"""Name the setting that explains a drift: static findings, controls, a search over variants, a recipe."""
