"""What drivers need again and again: sources read, targets refused and replaced, files moved, evidence compared.

Plugins import these names from ``dumpty``. Child processes are in ``dumpty.process``, another database's address is
``Source.replace``, and ``OwnedDirectory`` stands for every other temporary place.
"""
