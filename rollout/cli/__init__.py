"""The command line: thin verbs over `rollout.desk`, and the words people read. No decision about traffic here.

`main.py` runs, `verbs.py` declares the verbs, and both import next to nothing, so that `--help` is quick. Everything
that knows a release is imported inside the commands.
"""
