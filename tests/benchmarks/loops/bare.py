"""The least that trains: no checkpoint, no evaluation, no metrics, no ranks. Prints images per second of each epoch."""

import sys
import time

import torch
from torch.nn import functional

from train.vision import torchvision

images, size, batch_size, epochs, threads = (int(word) for word in sys.argv[1:6])
torch.set_num_threads(threads)
torch.manual_seed(0)
data, labels = torch.randn(images, 3, size, size), torch.arange(images) % 10
model = torchvision().models.resnet18(num_classes=10).train()
optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9, weight_decay=5e-4, nesterov=True)
for _ in range(epochs):
    began = time.perf_counter()
    order = torch.randperm(images)
    for at in range(0, images - batch_size + 1, batch_size):
        chosen = order[at : at + batch_size]
        optimizer.zero_grad(set_to_none=True)
        loss = functional.cross_entropy(model(data[chosen]), labels[chosen])
        loss.backward()
        optimizer.step()
    print(images // batch_size * batch_size / (time.perf_counter() - began), flush=True)
