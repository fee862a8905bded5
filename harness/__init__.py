"""Re-render AI Toolkit's Flex.2 training previews through the reference pipeline and measure the drift.

The whole public face; everything is loaded on first use, so that ``import harness`` stays light::

    import harness

    imported = harness.import_job("output/my_lora", out="cases/my_lora")
    result = harness.run_cases(imported.cases, out="reports/my_lora")
    print(result.frame()[["case", "verdict", "ssim", "lpips", "psnr"]])
    harness.build_report(result.folder)
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
