"""Train what the configuration says: `python -m train experiment=digits optimizer.lr=0.1`.

`amlrun run` starts it with `--amlrun WORD`: the overrides, and the digest of what they must compose to.
"""

from __future__ import annotations

import sys
import traceback
from typing import Any

import hydra
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from train.errors import TrainError
from train.job import Submitted, accept, take_job
from train.process import find_process, finish, leave

_job: list[Submitted | None] = [None]


@hydra.main(config_path="../configs", config_name="config", version_base=None)
def main(config: DictConfig) -> None:
    """Every failure ends here, so that a rank is gone the moment it fails."""
    try:
        values, process = _plain(config), find_process()
        if _job[0] is not None:
            accept(_job[0], values, process.rank, process.world_size)
        from train.loop import train  # torch takes seconds: not for --help, nor to refuse a configuration

        train(values, process)
        finish(process)
    except TrainError as error:
        leave(_told(error))
    except Exception:  # noqa: BLE001 - printed whole, which is what a diagnosis needs; Hydra would shorten it
        traceback.print_exc()
        leave(1)


def _plain(config: DictConfig) -> dict[str, Any]:
    try:
        values = OmegaConf.to_container(config, resolve=True, throw_on_missing=True)
    except OmegaConfBaseException as error:
        raise TrainError(f"configuration: {str(error).splitlines()[0]}; set it on the command line") from error
    assert isinstance(values, dict)
    return {str(key): value for key, value in values.items()}


def _told(error: TrainError) -> int:
    print(f"train: {error}", file=sys.stderr, flush=True)
    return error.exit_code


if __name__ == "__main__":
    try:
        sys.argv[1:], _job[0] = take_job(sys.argv[1:])
    except TrainError as problem:
        sys.exit(_told(problem))
    main()
