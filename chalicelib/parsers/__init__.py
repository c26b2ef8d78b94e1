"""AWS JSON to domain values. Nothing here calls AWS, decides or stores; what cannot be read is refused."""
