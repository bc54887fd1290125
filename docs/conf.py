"""How the pages become a site: ``sphinx-build -W docs site``."""

from importlib.metadata import version as installed

project = "qnas"
copyright = "the authors of qnas"
version = release = installed("qnas")
extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
exclude_patterns = ["conf.py"]
html_theme = "furo"
html_title = "qnas"
html_static_path: list[str] = []
myst_heading_anchors = 3
autodoc_member_order = "bysource"
autodoc_typehints = "description"
autodoc_typehints_description_target = "documented"
napoleon_use_rtype = False
