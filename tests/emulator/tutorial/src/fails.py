"""Rank 1 (or the only process) fails; the others would go on for ever."""

import os
import time

rank = int(os.environ.get("RANK", os.environ.get("OMPI_COMM_WORLD_RANK", "1")))
print("rank", rank, "starts", flush=True)
if rank == 1:
    raise ValueError("the learning rate is a banana")
time.sleep(600)  # longer than the test may take: the launcher has to stop it
