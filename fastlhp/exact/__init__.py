"""Small configurations as Markov chains: exact values to hold the simulator against."""
