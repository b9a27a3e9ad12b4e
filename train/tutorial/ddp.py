"""The tutorial's job under PyTorchConfiguration: RANK, LOCAL_RANK, WORLD_SIZE and MASTER_* are in the environment."""

import argparse
import json
import os
from pathlib import Path

import torch
import torch.distributed as dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data import DataLoader, DistributedSampler, TensorDataset


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--batch-size", type=int, default=64, help="of one process")
    parser.add_argument("--learning-rate", type=float, default=0.1)
    args = parser.parse_args()

    gpu = torch.cuda.is_available()
    device = torch.device("cuda", int(os.environ["LOCAL_RANK"])) if gpu else torch.device("cpu")
    dist.init_process_group("nccl" if gpu else "gloo")
    torch.manual_seed(0)  # the same data for every process
    images = torch.randn(1024, 20)
    data = TensorDataset(images, (images @ torch.randn(20, 2)).argmax(1))
    sampler: DistributedSampler[tuple[torch.Tensor, ...]] = DistributedSampler(data)
    loader = DataLoader(data, args.batch_size, sampler=sampler)
    model = DistributedDataParallel(nn.Linear(20, 2).to(device))
    optimizer = torch.optim.SGD(model.parameters(), lr=args.learning_rate)

    for epoch in range(args.epochs):
        sampler.set_epoch(epoch)
        for batch, labels in loader:
            optimizer.zero_grad()
            loss = nn.functional.cross_entropy(model(batch.to(device)), labels.to(device))
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
        mean = loss.detach()
        dist.all_reduce(mean)
        mean /= dist.get_world_size()
        print(f"rank {dist.get_rank()} of {dist.get_world_size()}: epoch {epoch}, loss {mean.item():.4f}")
    if dist.get_rank() == 0:
        Path("outputs").mkdir(exist_ok=True)
        row = {"loss": mean.item(), "processes": dist.get_world_size()}
        Path("outputs/metrics.jsonl").write_text(json.dumps(row) + "\n")
        torch.save(model.module.state_dict(), "outputs/model.pt")
    dist.destroy_process_group()


if __name__ == "__main__":
    main()
