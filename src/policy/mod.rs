//! Policy files: read, checked, compiled, watched.
