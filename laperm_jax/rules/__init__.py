"""Rules: which axes form a weight vector, what is reset, and a table of both."""
