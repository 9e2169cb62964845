"""Everything that TensorBoard shows; each file does one job."""
