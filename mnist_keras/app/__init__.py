"""The application that main.py runs: settings, modes, run directories and reports."""
