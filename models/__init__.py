"""The model: fitted, judged, bundled, applied, registered."""

import os

# XGBoost's threads wait for each other many times a tree. Left to themselves they burn a core while
# they do, and on a busy machine that keeps the one they wait for from running: a training of two
# seconds took five minutes. On an idle machine it takes a tenth longer. Read once, when its library
# is loaded.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")
