"""The command ``fastlhp``: one file per command; each parses, calls and prints, and holds no logic."""
