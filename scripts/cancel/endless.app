operator Spins 0
