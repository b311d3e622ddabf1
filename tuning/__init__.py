"""Rooms of TuneEmbeddings.py, in the order in which training uses them.

recipe.py    all that decides what the model becomes
split.py     which documents are trained on, which are held out
folder.py    the model's folder: checkpoints, what is complete, what it was made with
scores.py    how well held-out pairs are told from random ones, before and after
stopping.py  signals that announce an end
batches.py   which pairs share a batch
tokens.py    the tokens of the training texts, made once
loss.py      what a batch teaches
trainer.py   the library's trainer with these batches and this loss; progress, checkpoints, stops
adjust.py    centring and whitening, as the model's last layers
"""
