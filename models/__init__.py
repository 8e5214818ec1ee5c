"""The model: fitted, judged, bundled, applied, registered."""

from models.apply import score
from models.bundle import Bundle, BundleRefused, bundle_sha256, read_bundle

__all__ = ["Bundle", "BundleRefused", "bundle_sha256", "read_bundle", "score"]
