"""What only the book needs: scenes, bench, claims, figures, the released code."""
