"""llama-server's HTTP interface, out of the pip package xllamacpp: llama_server.py FILE.gguf PORT SLOTS THREADS"""

import os
import signal
import sys

import xllamacpp

parameters = xllamacpp.CommonParams()
parameters.model.path, parameters.port, slots = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
threads = int(sys.argv[4])
parameters.hostnames = ["127.0.0.1"]
parameters.n_parallel, parameters.n_ctx = slots, 4096 * slots
parameters.cpuparams.n_threads = parameters.cpuparams_batch.n_threads = threads
parameters.endpoint_metrics = True
server = xllamacpp.Server(parameters)
print(server.listening_address, flush=True)
signal.sigwait([signal.SIGTERM, signal.SIGINT])
# Its own threads do not end by themselves.
os._exit(0)
