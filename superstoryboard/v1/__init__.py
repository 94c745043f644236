"""Generated from proto/; `make proto` renews it."""
