"""Measures gateways side by side; see the section on `compare` in benches/README.md."""
