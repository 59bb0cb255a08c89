"""What a network computes, op by op: which input positions each value reads, and which kinds of layers occur."""
