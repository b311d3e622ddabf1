"""The report: the inside of evaluate_timeline.py, report_precocity.py, and draw_map.py.

What tuning did:
representations.py    embedding folders and topic mixtures as runs over the same passages
trainings.py          how the models were trained, and which documents they did not see
topics.py             the topic model that embeddings are compared with
measures.py           the table of measures, and the statistics behind them
bench.py              the measures of every run, with bootstrap draws of documents; means and differences
timeline_figures.py   the pictures
timeline_page.py      report.html

What precocity shows:
precocity_tables.py   reading the tables; the most and least precocious documents
precocity_beside.py   other representations beside this one
explain.py            single documents: their curves, and the passages nearest to theirs
explain_page.py       their part of section.html
regression.py         what precocity explains
precocity_figures.py  the pictures
precocity_page.py     section.html, a part of report.html

A map to walk in:
map_data.py           documents, passages, their places, and which documents are nearest
map_page.py           map.html, the still picture, and its section for report.html

What all share:
drawing.py            colors; how a picture gets onto the disk
tsv.py                tables for people
page.py, templates/   HTML
"""
