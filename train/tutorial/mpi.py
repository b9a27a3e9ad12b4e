"""The tutorial's job under MpiConfiguration, torch.distributed instead of Horovod: mpirun says which rank this is."""

import json
import os
from pathlib import Path

import torch
import torch.distributed as dist
from torch import nn


def join() -> tuple[int, int]:
    """Rank and world size. Azure names rank 0's node for several nodes; on one node any fixed port does."""
    address, port = os.environ.get("AZ_BATCH_MASTER_NODE", "127.0.0.1:6105").split(":")
    os.environ.setdefault("MASTER_ADDR", address)
    os.environ.setdefault("MASTER_PORT", port)
    rank, size = int(os.environ["OMPI_COMM_WORLD_RANK"]), int(os.environ["OMPI_COMM_WORLD_SIZE"])
    if torch.cuda.is_available():
        torch.cuda.set_device(int(os.environ["OMPI_COMM_WORLD_LOCAL_RANK"]))
    dist.init_process_group("nccl" if torch.cuda.is_available() else "gloo", rank=rank, world_size=size)
    return rank, size


def main() -> None:
    rank, size = join()
    device = "cuda" if torch.cuda.is_available() else "cpu"
    torch.manual_seed(0)  # the same data and the same first weights for every rank
    images = torch.randn(1024, 20, device=device)
    labels = (images @ torch.randn(20, 2, device=device)).argmax(1)
    model = nn.Linear(20, 2).to(device)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)

    for step in range(30):
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(model(images[rank::size]), labels[rank::size])
        loss.backward()  # type: ignore[no-untyped-call]
        for weights in model.parameters():  # what hvd.DistributedOptimizer does
            assert weights.grad is not None
            dist.all_reduce(weights.grad)
            weights.grad /= size
        optimizer.step()
        if step % 10 == 9:
            print(f"rank {rank} of {size}: step {step}, loss {loss.item():.4f}")
    if rank == 0:
        Path("outputs").mkdir(exist_ok=True)
        Path("outputs/metrics.jsonl").write_text(json.dumps({"loss": loss.item(), "processes": size}) + "\n")
        torch.save(model.state_dict(), "outputs/model.pt")
    dist.destroy_process_group()


if __name__ == "__main__":
    main()
