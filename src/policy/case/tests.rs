//! Steps of cases, word for word.
