"""The rooms of synthetic_data_generator.py, in the order in which a row goes through them.

prompts.py      what the model is told
plan.py         which cell of which row is asked for, with which prompt, temperature and seed
corrections.py  what a person changed in the finished table
survey.py       what there is to do: one pass through the pair table
prices.py       what calls cost
estimate.py     what a run would ask for, cost and take
address.py      the server's address, and the way past proxies
key.py          the key to the server, and that nothing shows it
server.py       the client, the body of a call, replies and errors
waits.py        how long a server asks us to wait
gate.py         how many calls run at once, within --max-cost
asking.py       calls to the server, many at a time
progress.py     how far the asking is
batch.py        the same through OpenAI's Batch API, at half the price
leftovers.py    thoughts, template tokens, and roles in a reply
checks.py       whether a reply can serve as a paraphrase
entries.py      what the journal keeps of a call
journal.py      every reply ever received, on disk
preview.py      some paraphrases beside their sources
result.py       rejected replies, the finished table, the summary
"""
