# Each stage counts the run once, and enters it into the log.
operator Tally 0 retries=100
operator Tally 1 retries=100
