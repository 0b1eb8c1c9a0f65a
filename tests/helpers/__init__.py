"""What tests share: judges of other making, networks and texts to try, and children to try them in."""
