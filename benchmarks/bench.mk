# Measurements: what the scripts take, beside slower ways. Part of the Makefile. Results are in benchmarks/RESULTS.md.

bench: $(READY) ## Measure selection, embedding and precocity on this machine's CPU, each beside a slower way.
	$(PYTHON) benchmarks/bench_select.py
	$(PYTHON) benchmarks/bench_encode.py --device cpu $(BENCH_FLAGS)
	$(PYTHON) benchmarks/bench_precocity.py --quick

bench-gpu: $(READY) ## Measure embedding on this machine's GPU.
	$(PYTHON) benchmarks/bench_encode.py --device cuda $(BENCH_FLAGS)

bench-size: $(READY) ## Run every stage on 4,000 and on 40,000 synthetic documents; takes hours.
	$(PYTHON) benchmarks/size.py $(BENCH_FLAGS)
