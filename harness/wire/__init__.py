"""How the real programs are spoken to, from inside a client container. Nothing is simulated."""
