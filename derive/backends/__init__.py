"""Programs as code: one room a target."""
