"""The same configuration in a plain Hydra application whose task does nothing."""

import hydra


@hydra.main(config_path="configs", config_name="config", version_base=None)
def main(_cfg):
    pass


if __name__ == "__main__":
    main()
