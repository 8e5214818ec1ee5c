"""What a customer looks like on a day: the only feature code there is.

A feature is a function without arguments; its name is the column and its docstring the entry in
``docs/data_dictionary.md`` (rewrite it with ``python -m features.dictionary``). Adding one is a
function and a line in the tuple of its module.
"""
