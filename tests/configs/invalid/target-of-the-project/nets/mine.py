class Net:
    def __init__(self, num_classes: int, depth: int, width: int = 8) -> None:
        self.depth = depth
