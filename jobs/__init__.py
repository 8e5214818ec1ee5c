"""One module per step of the pipeline: ``python -m jobs.<name>``."""

import os

# Some libraries report home unless told not to before they are imported, so it is said here,
# where every job passes first.
os.environ.update(DO_NOT_TRACK="1", GX_ANALYTICS_ENABLED="false", DVC_NO_ANALYTICS="true")
