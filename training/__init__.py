"""How surrogates, bundled checkpoints and benchmark tables are made; not part of the wheel."""
