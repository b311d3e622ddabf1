"""The inside of delta.py: every decision about the cluster, made here from text that plain commands print there.

place.py   a folder on another machine: ssh, rsync, run
send.py    what is sent, and what was edited there
ledger.py  the jobs of a folder, and what state each is in
jobs.py    what a job runs, and how it is submitted
checks.py  all that is checked before that
cost.py    the most a job may cost, and flags given twice
follow.py  waiting for jobs, showing them and their logs, cancelling them
fetch.py   what is brought back, or passed on to another machine
campus.py  precocity on another machine than the embeddings: what it needs there, and its table back here
"""
