"""What the pages of the book show: tables, figures, diagrams and the Explorer."""
