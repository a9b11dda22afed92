"""Training programs: `python -m train.<program>`. They import the core, never the nodes."""
