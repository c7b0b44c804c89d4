//! The canonical path: one form that is matched and forwarded.
