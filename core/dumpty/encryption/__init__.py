"""Who may read a backup: recipients and identities, and the header of what is encrypted to them."""
