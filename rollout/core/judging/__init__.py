"""The judge: from counts to evidence, from evidence to verdicts. Pure, as all of the core."""
