"""What the pages of the chapters share or leave out: figures, tables, loops and their words."""
