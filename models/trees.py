"""XGBoost without its wrappers for scikit-learn, which take longer to import than all the rest."""

import sys

if "sklearn" in sys.modules:
    import xgboost
else:
    # What is None here cannot be imported, and XGBoost then does without it.
    sys.modules["sklearn"] = None
    try:
        import xgboost
    finally:
        del sys.modules["sklearn"]

__all__ = ["xgboost"]
