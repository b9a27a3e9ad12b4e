"""What PyTorch's ImageNet example does in its loop: a DataLoader over a dataset, meters, accuracy at 1 and 5 per batch.

Written from the example's description (github.com/pytorch/examples, imagenet). Prints images per second of each epoch.
"""

import sys
import time

import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from train.vision import torchvision


class Meter:
    """A value, and its average over the epoch."""

    def __init__(self) -> None:
        self.sum, self.count = 0.0, 0

    def update(self, value: float, count: int = 1) -> None:
        self.sum += value * count
        self.count += count


def accuracy(output: torch.Tensor, target: torch.Tensor, tops: tuple[int, ...]) -> list[float]:
    with torch.no_grad():
        _, guesses = output.topk(max(tops), 1, True, True)
        right = guesses.t().eq(target.view(1, -1).expand_as(guesses.t()))
        return [right[:top].reshape(-1).float().sum().mul_(100 / target.size(0)).item() for top in tops]


def train(loader: DataLoader, model: nn.Module, criterion: nn.Module, optimizer: torch.optim.Optimizer) -> int:
    losses, top1, top5, seen = Meter(), Meter(), Meter(), 0
    model.train()
    for number, (images, target) in enumerate(loader):
        output = model(images)
        loss = criterion(output, target)
        first, fifth = accuracy(output, target, (1, 5))
        losses.update(loss.item(), images.size(0))
        top1.update(first, images.size(0))
        top5.update(fifth, images.size(0))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        seen += images.size(0)
        if number % 10 == 0:
            print(f"# {number} loss {loss.item():.4f} acc@1 {first:.2f} acc@5 {fifth:.2f}", flush=True)
    return seen


count, size, batch_size, epochs, threads = (int(word) for word in sys.argv[1:6])
torch.set_num_threads(threads)
torch.manual_seed(0)
dataset = TensorDataset(torch.randn(count, 3, size, size), torch.arange(count) % 10)
network = torchvision().models.resnet18(num_classes=10)
descent = torch.optim.SGD(network.parameters(), 0.1, momentum=0.9, weight_decay=1e-4)
batches = DataLoader(dataset, batch_size=batch_size, shuffle=True, drop_last=True)
for _ in range(epochs):
    began = time.perf_counter()
    done = train(batches, network, nn.CrossEntropyLoss(), descent)
    print(done / (time.perf_counter() - began), flush=True)
