"""The rooms behind calc_precocity_for_embeddings.py, in the order in which a run passes through them.

settings.py     where the results go, and what changes them besides the inputs
embeddings.py   the folder of decade files, read year by year
exclusions.py   which comparisons are left out: read from files, or made from authors and training pairs
quotes.py       passages that share six words with another document, made year by year
distances.py    cosines of vectors, or divergences of mixtures, as one matrix product
arithmetic.py   products, artanh, and the means of the nearest, in numpy or on a GPU
comparison.py   a year's passages compared with every other year of the window, block by block
values.py       from the distances of years to novelty, transience, and precocity of passages and documents
certainty.py    how sure a document's precocity is: standard errors, null, halves
years.py        the files of one year's results: whether they are up to date, making them
standing.py     z-scores, the second measure, and facts on all documents
table.py        the table of all years
"""
