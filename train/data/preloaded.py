"""For the server that forks the loaders' workers: torchvision, imported once and with its guard."""

from train import vision

vision.torchvision()
