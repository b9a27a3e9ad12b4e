"""Says which process it is: every variable that a distributed script may read."""

import json
import os
import sys
from pathlib import Path

NAMES = (
    "RANK LOCAL_RANK NODE_RANK WORLD_SIZE MASTER_ADDR MASTER_PORT OMPI_COMM_WORLD_RANK OMPI_COMM_WORLD_SIZE "
    "OMPI_COMM_WORLD_LOCAL_RANK OMPI_COMM_WORLD_LOCAL_SIZE AZ_BATCH_MASTER_NODE AZ_BATCHAI_MPI_MASTER_NODE "
    "AZ_BATCHAI_TASK_INDEX AZ_BATCHAI_PYTORCH_INIT_METHOD AZUREML_CR_NODE_RANK AZUREML_NODE_COUNT"
)
found = {name: os.environ[name] for name in NAMES.split() if name in os.environ}
print(json.dumps({"arguments": sys.argv[1:], "folder": str(Path.cwd()), **found}))
