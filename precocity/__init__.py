"""The inside of calc_precocity_for_embeddings.py.

exclusions.py   which comparisons are left out: read from files, or made from authors and texts
embeddings.py   the folder of decade files, read year by year
arithmetic.py   cosines, artanh and the means of the nearest, in numpy or on a GPU
comparison.py   a year's passages with every other year of the window, block by block, and what is left out
values.py       from the distances of years to novelty, transience and precocity of passages and documents
"""
