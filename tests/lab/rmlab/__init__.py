"""The lab: real cluster nodes on one machine. See tests/lab/README.md."""
