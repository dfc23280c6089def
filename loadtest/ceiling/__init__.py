"""What the parts of the stream cost by themselves on this machine, beside what the stream costs that is made of them."""
