"""Sphinx's settings. `python docs/build.py` is the command that builds the site."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
sys.path.insert(0, str(Path(__file__).resolve().parent))

import tinygrad_lstm

project = "tinygrad_lstm"
version = release = tinygrad_lstm.__version__
copyright = "the authors of tinygrad_lstm"
extensions = ["myst_parser", "sphinx_copybutton", "extension"]

myst_enable_extensions = ["colon_fence", "dollarmath"]
myst_heading_anchors = 3

html_theme = "furo"
html_title = "tinygrad_lstm"
html_theme_options = {"dark_css_variables": {"color-background-primary": "#17181c"}}  # as plots have it
html_static_path = ["static"]
html_css_files = ["site.css"]
html_math_renderer = "mathml"
html_show_sphinx = False
html_copy_source = False
pygments_style, pygments_dark_style = "friendly", "github-dark"
maximum_signature_line_length = 96
smartquotes_action = "De"  # dashes and dots; quotes stay as code has them
toc_object_entries_show_parents = "hide"
python_use_unqualified_type_names = True
copybutton_prompt_text, copybutton_prompt_is_regexp = r">>> |\.\.\. ", True
