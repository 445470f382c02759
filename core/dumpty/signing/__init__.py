"""Who made a backup? Keys of OpenSSH's form (Ed25519), and what is signed with them."""
