"""Importers: job folders, server requests and bundles become case files."""
