//! The data listener and the proxy: HTTP in, HTTP out.
