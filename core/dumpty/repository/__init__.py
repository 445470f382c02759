"""What lies in the store? Names, manifests, what was proved, what is kept, and what killed runs left."""
