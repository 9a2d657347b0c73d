"""The documentation as a site: `make docs`, then open build/docs/index.html."""

import metarl

project = "metarl"
version = release = metarl.__version__
extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
myst_heading_anchors = 3
exclude_patterns = ["examples"]
napoleon_use_ivar = True
html_theme = "furo"
html_static_path = []
autodoc_typehints = "description"
# links to files of the repository outside of this folder
suppress_warnings = ["myst.xref_missing", "ref.python", "autodoc.duplicate_object"]
