"""Images and labels: the embedded digits, CIFAR-10, folders of class folders."""
