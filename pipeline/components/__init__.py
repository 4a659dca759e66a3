"""The steps of the pipeline under TFX's names: plain functions, no orchestrator."""
