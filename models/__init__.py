"""The model: fitted, judged, bundled, applied, registered."""
