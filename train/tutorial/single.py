"""The tutorial's single-node job: train, save the model, write metrics. Plain PyTorch, a script of any user."""

import argparse
import json
from pathlib import Path

import torch
from torch import nn


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--num_epochs", type=int, default=5)
    parser.add_argument("--learning_rate", type=float, default=0.1)
    parser.add_argument("--momentum", type=float, default=0.9)
    parser.add_argument("--output_dir", type=Path, default=Path("outputs"))
    args = parser.parse_args()

    torch.manual_seed(0)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    images = torch.randn(1024, 20, device=device)
    labels = (images @ torch.randn(20, 2, device=device)).argmax(1)
    model = nn.Linear(20, 2).to(device)
    optimizer = torch.optim.SGD(model.parameters(), lr=args.learning_rate, momentum=args.momentum)

    args.output_dir.mkdir(parents=True, exist_ok=True)
    with (args.output_dir / "metrics.jsonl").open("w") as metrics:
        for epoch in range(1, args.num_epochs + 1):
            for chosen in torch.split(torch.randperm(len(images), device=device), 64):
                optimizer.zero_grad()
                loss = nn.functional.cross_entropy(model(images[chosen]), labels[chosen])
                loss.backward()  # type: ignore[no-untyped-call]
                optimizer.step()
            accuracy = (model(images).argmax(1) == labels).float().mean().item()
            metrics.write(json.dumps({"epoch": epoch, "loss": loss.item(), "accuracy": accuracy}) + "\n")
            metrics.flush()
            print(f"epoch {epoch}: loss {loss.item():.4f}, accuracy {accuracy:.4f}")
    torch.save(model.state_dict(), args.output_dir / "model.pt")


if __name__ == "__main__":
    main()
