"""The one error that a retry cannot mend."""


class BadData(Exception):
    """What was delivered is wrong, not the code: jobs exit with 20, and Airflow does not retry.

    The message names the file, the column, the row count and the next step, for the people who
    own the data. Subclasses live beside the code that raises them.
    """
