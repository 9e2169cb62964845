"""Everything that TensorBoard shows, one job a file."""
