"""The inside of synthetic_data_generator.py.

prompts.py   the prompts, and the checks on replies
plan.py      which cell of which row is asked for, with which prompt, temperature and seed
journal.py   every reply ever received, on disk
asking.py    calls to the server, many at a time, and what to do about its faults
batch.py     the same through OpenAI's Batch API, at half the price
"""
