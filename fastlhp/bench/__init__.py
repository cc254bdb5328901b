"""Speed of fastlhp beside its rivals, with the answer of each beside its speed: what ``fastlhp bench`` runs."""
