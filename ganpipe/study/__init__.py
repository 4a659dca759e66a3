"""The study kit: toy experiments that show what losses and constraints do (docs/study.md)."""
