"""Inside of TuneEmbeddings.py, in the order in which training uses it.

split.py     which documents are trained on, which choose the best epoch, which are held out
folder.py    the model's folder: checkpoints, what is whole, what it was made with
stopping.py  signals that announce an end
batches.py   which pairs stand in one batch
loss.py      what a batch teaches
adjust.py    centring and whitening, fitted on the training passages
"""
