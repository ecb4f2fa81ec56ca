"""The bundled tiny base model and dataset, and the scripts that made them."""
