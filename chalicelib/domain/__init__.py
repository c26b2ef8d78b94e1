"""The rules of Lazaretto without I/O: no clock, no environment, no AWS. `now` is always an argument."""
