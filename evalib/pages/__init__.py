"""What the pages of the book show: tables, figures, diagrams, the Explorer, the network
that computes in a page, the Looking Machine."""

from evalib.extras import need

need("book", "IPython", "matplotlib")
