"""What the pages of the book show: tables, figures, diagrams and the Explorer."""

from evalib.extras import need

need("book", "IPython", "matplotlib")
