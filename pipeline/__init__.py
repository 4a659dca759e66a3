"""Folder of images -> blessed, pushed model."""
