"""What upstream puts down: find it, name it, hold it to the contract, read it.

Beside that, two makers of deliveries: ``generator`` and ``online_retail``.
"""
