"""The tutorial of 2020: one process per node, told by its arguments which one it is and where to meet the others."""

import argparse
import json
from pathlib import Path

import torch
import torch.distributed as dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--dist-backend", default="nccl")
    parser.add_argument("--dist-url", required=True)
    parser.add_argument("--rank", type=int, required=True)
    parser.add_argument("--world-size", type=int, required=True)
    args = parser.parse_args()

    dist.init_process_group(args.dist_backend, init_method=args.dist_url, rank=args.rank, world_size=args.world_size)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    torch.manual_seed(0)
    images = torch.randn(1024, 20, device=device)
    labels = (images @ torch.randn(20, 2, device=device)).argmax(1)
    model = DistributedDataParallel(nn.Linear(20, 2).to(device))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)

    mine = slice(args.rank, None, args.world_size)
    for _ in range(30):
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(model(images[mine]), labels[mine])
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    print(f"rank {args.rank} of {args.world_size}: loss {loss.item():.4f}")
    if args.rank == 0:
        Path("outputs").mkdir(exist_ok=True)
        row = {"loss": loss.item(), "processes": args.world_size}
        Path("outputs/metrics.jsonl").write_text(json.dumps(row) + "\n")
        torch.save(model.module.state_dict(), "outputs/model.pt")
    dist.destroy_process_group()


if __name__ == "__main__":
    main()
