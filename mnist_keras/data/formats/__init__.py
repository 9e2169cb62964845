"""The file formats that data sets are read from and written to."""
