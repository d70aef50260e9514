"""The thin library behind the chapters: one noun a module, imports only downwards."""
