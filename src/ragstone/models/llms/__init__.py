"""Language models: a file for each wire format, and fakes that ship."""
