"""What trained networks leave behind, and what it says: records, weights, tables and claims."""
