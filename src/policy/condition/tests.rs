//! What is read, typed, bounded and refused.
