"""One module per step of the pipeline: ``python -m jobs.<name>``."""

import gc
import os

# Libraries make objects by the hundred thousand while they are imported, none of them garbage.
# Looking for some among them took a fifth of the time in which a job starts.
gc.set_threshold(500_000)

# Some libraries report home unless told not to before they are imported, so it is said here,
# where every job passes first.
os.environ.update(DO_NOT_TRACK="1", GX_ANALYTICS_ENABLED="false", DVC_NO_ANALYTICS="true")
