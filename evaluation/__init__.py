"""Inside of evaluate_timeline.py.

representations.py  reading embedding folders; passages, documents, distances
topics.py           the topic model that embeddings are compared with
metrics.py          what is measured, each figure with its bootstrap replicates over documents
figures.py          the drawings
page.py             report.html
"""
