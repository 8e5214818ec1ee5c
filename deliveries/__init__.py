"""What upstream puts down: find it, name it, hold it to the contract, read it.

Beside that, a maker of deliveries, ``generator``, and the way to them from a table that nobody has
described: ``recognise``, ``survey``, ``draft``, ``layout``.
"""
