"""Inside of evaluate_timeline.py.

representations.py  reading embedding folders; passages, documents, distances
topics.py           the topic model that embeddings are compared with
metrics.py          what is measured, each figure with its bootstrap replicates over documents
drawing.py          colours; how a figure gets onto the disk and into a page
figures.py          the drawings
page.py             report.html
"""
