"""Find limits between what equally valid executions change and what wrong settings change."""
