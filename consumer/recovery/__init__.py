"""State made again, compared, and handed over to other models: `dedup rebuild`, `verify`, `migrate`."""
